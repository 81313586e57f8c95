//! The same key-value store on one node: the baseline.

use crate::subject::{ClientKind, Clocks, OwnSystem, Promise, Properties, Reads, System, any_workload};
use protocol::quorum::Quorums;
use runtime::Durability;

pub(crate) const SYSTEM: System = System::new(&Standalone);

struct Standalone;

impl OwnSystem for Standalone {
    type Core = standalone::Standalone;
    type Observer = ();

    const PROPERTIES: Properties = Properties {
        name: "standalone",
        about: "the same key-value store on one node, unreplicated: the baseline",
        program: "standalone-node",
        is_example: false,
        promise: Promise::Linearizable,
        quorums: Quorums::Majority,
        replicas: Some(1),
        leads: true,
        client: ClientKind::Leader,
        changes_members: false,
        marks: Ok(()),
        clocks: Clocks::None,
        reads: &[(Reads::Default, "own state (one node)")],
        durability: &[Durability::Fsync, Durability::Memory],
        adversaries: &[],
        workloads: any_workload,
    };
}
