//! Which cores can be simulated, and what is looked at after each of their steps.

use protocol::ReplicaId;
use sim::{Broken, Observer};

pub(crate) use kv::Serves as KvCore;

/// The paper's invariants.
#[derive(Debug, Default)]
pub(crate) struct RaftInvariants(raft::Invariants);

impl Observer<raft::Raft> for RaftInvariants {
    fn after_step(&mut self, core: &raft::Raft) -> Result<(), Broken> {
        self.0
            .after_step(core)
            .map_err(|violation| Broken { detector: violation.detector(), what: violation.to_string() })
    }

    fn restarted(&mut self, replica: ReplicaId) {
        self.0.restarted(replica);
    }
}

/// One replica has nobody to disagree with.
#[derive(Debug, Default)]
pub(crate) struct NoInvariants;

impl<P> Observer<P> for NoInvariants {
    fn after_step(&mut self, _core: &P) -> Result<(), Broken> {
        Ok(())
    }

    fn restarted(&mut self, _replica: ReplicaId) {}
}
