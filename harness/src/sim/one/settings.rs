//! What a resolved plan means for the cluster and its clients.

use super::clients::ClientSettings;
use super::run::FINAL_WORKERS;
use crate::plan::Cell;
use protocol::NodeId;
use sim::{DiskSettings, NetworkSettings, Settings};
use std::collections::BTreeMap;
use std::time::Duration;
use workloads::Distances;

/// How clients behave in the run phase.
pub(super) fn clients(cell: &Cell) -> ClientSettings {
    let load = &cell.plan.load;
    let sim = cell.plan.sim.as_ref().expect("a resolved plan");
    ClientSettings {
        workload: cell.workload().clone(),
        binding: cell.workload().binding(cell.subject().system.properties().leads),
        readers: if cell.workload().reads_each_replica() { FINAL_WORKERS } else { 1 },
        group: cell.replicas() as usize,
        distances: distances(cell),
        workers: cell.clients(),
        op_timeout: load.op_timeout,
        attempt_timeout: load.attempt_timeout,
        think_mean: Duration::from_secs_f64(f64::from(cell.clients()) / sim.ops_per_s),
        seed: cell.seed,
        ops_max: sim.ops_max,
    }
}

/// How machines, disks and network are.
pub(super) fn cluster(cell: &Cell, in_words: bool) -> Settings {
    let sim = cell.plan.sim.as_ref().expect("a resolved plan");
    let knobs = sim.knobs.as_ref().expect("a resolved plan");
    let us = Duration::from_micros;
    Settings {
        network: NetworkSettings {
            latency_min: us(knobs.latency_us_min),
            latency_mean: us(knobs.latency_us_mean),
            datagrams: knobs.datagrams,
        },
        distances: between_nodes(cell),
        client_latency_mean: us(knobs.client_latency_us_mean),
        disk: DiskSettings {
            sync_min: us(knobs.sync_us_min),
            sync_mean: us(knobs.sync_us_mean),
            store_mean: us(knobs.store_us_mean),
            segment_bytes: knobs.segment_bytes,
        },
        turn: us(knobs.turn_us),
        input: us(knobs.turn_us) / 10,
        clock_drift: knobs.clock_drift,
        storage_bugs: cell.subject().storage_bugs.clone(),
        in_words,
    }
}

/// How far clients are from nodes.
pub(super) fn distances(cell: &Cell) -> Distances {
    let nodes = cell.plan.nodes(cell.subject());
    cell.plan.links.as_ref().map(|links| links.distances(&nodes)).unwrap_or_default()
}

/// How far nodes are from one another.
fn between_nodes(cell: &Cell) -> BTreeMap<(NodeId, NodeId), Duration> {
    let Some(links) = &cell.plan.links else { return BTreeMap::new() };
    let nodes = cell.plan.nodes(cell.subject());
    let from = |node: &NodeId| {
        let from = *node;
        links.one_way_from(from, &nodes).into_iter().map(move |(to, way)| ((from, to), way))
    };
    nodes.iter().flat_map(from).collect()
}
