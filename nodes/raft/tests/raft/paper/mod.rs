//! One test per claim. Sections are of Ongaro and Ousterhout's paper (extended version) up to §8, and of Ongaro's
//! dissertation where marked *diss.*

mod clients;
mod disks;
mod elections;
mod membership;
mod reads;
mod replication;
mod snapshots;
mod solo;
mod transfer;

pub(crate) use solo::founder;
