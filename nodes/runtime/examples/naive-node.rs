//! A node that runs the naive replication of the driver's tests.
#[path = "../tests/support/naive.rs"]
mod naive;

fn main() -> std::process::ExitCode {
    runtime::node_main::<naive::Naive, serde_yaml::Value>("naive", |replica, members, _| naive::Config {
        replica,
        members,
        snapshot_every: 0,
    })
}
