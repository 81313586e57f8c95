//! One node of a Raft group.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::node_main::<raft::Raft, raft::Options>("raft", |replica, members, options| raft::Config {
        replica,
        members,
        options,
    })
}
