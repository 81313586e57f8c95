//! Where a plan runs.

mod cluster;
mod network;
pub(crate) mod ports;
pub(crate) mod recipes;
pub(crate) mod secrets;
pub(crate) mod settle;
mod site;

pub(crate) use cluster::Cluster;
pub(crate) use network::foreign_links;
pub(crate) use site::{Demands, Site};
