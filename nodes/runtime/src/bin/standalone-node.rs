//! The unreplicated store on its one node.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::node_main::<standalone::Standalone, standalone::Options>("standalone", |node, options| {
        standalone::Config { replica: node.replica(), members: node.members(), options }
    })
}
