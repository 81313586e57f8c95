//! One node of a Raft group.

fn main() -> std::process::ExitCode {
    runtime::node_main::<raft::Raft>()
}
