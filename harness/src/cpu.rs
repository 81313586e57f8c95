//! Processor time over a run phase: whose it was.

use crate::host::proc_stat;
use reports::stored::CpuUse;
use std::time::Instant;

/// A reading at the beginning of the phase.
#[derive(Debug)]
pub(crate) struct CpuMeter {
    begun: Instant,
    nodes_s: f64,
    controller_s: f64,
    machine_s: f64,
}

/// What was used while load was generated, by all but the nodes: theirs is read when the world is free again.
#[derive(Debug)]
pub(crate) struct Ended {
    begin: CpuMeter,
    wall_s: f64,
    controller_s: f64,
    machine_s: f64,
}

fn controller_s() -> f64 {
    proc_stat::process(std::process::id()).map_or(0.0, |stat| stat.cpu_s)
}

fn machine_s() -> f64 {
    proc_stat::machine_busy_s().unwrap_or(0.0)
}

impl CpuMeter {
    /// Begins, with what the nodes have used so far.
    #[must_use]
    pub(crate) fn begin(nodes_s: f64) -> Self {
        Self { begun: Instant::now(), nodes_s, controller_s: controller_s(), machine_s: machine_s() }
    }

    /// Load generation has ended.
    #[must_use]
    pub(crate) fn end(self) -> Ended {
        Ended {
            wall_s: self.begun.elapsed().as_secs_f64(),
            controller_s: controller_s() - self.controller_s,
            machine_s: machine_s() - self.machine_s,
            begin: self,
        }
    }
}

impl Ended {
    /// With what the nodes have used by now.
    #[must_use]
    pub(crate) fn with_nodes(&self, nodes_s: f64) -> CpuUse {
        let nodes_s = nodes_s - self.begin.nodes_s;
        CpuUse {
            wall_s: self.wall_s,
            nodes_s,
            controller_s: self.controller_s,
            others_s: (self.machine_s - nodes_s - self.controller_s).max(0.0),
            cores: std::thread::available_parallelism()
                .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        }
    }
}
