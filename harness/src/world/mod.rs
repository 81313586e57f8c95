//! Where a plan runs.

pub(crate) mod local;
pub(crate) mod node;
mod ports;
pub(crate) mod proc_stat;
pub(crate) mod recipes;
pub(crate) mod settle;

pub(crate) use local::LocalCluster;
