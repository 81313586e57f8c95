//! Where a plan runs.

pub(crate) mod local;
pub(crate) mod node;
pub(crate) mod proc_stat;

pub(crate) use local::LocalCluster;
