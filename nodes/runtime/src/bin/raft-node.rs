//! One node of a Raft group.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::node_main::<raft::Raft, raft::Options>("raft", |node, options| raft::Config {
        replica: node.replica(),
        incarnation: node.incarnation,
        members: node.members(),
        options,
    })
}
