//! The unreplicated store on its one node.

fn main() -> std::process::ExitCode {
    runtime::node_main::<standalone::Standalone>()
}
