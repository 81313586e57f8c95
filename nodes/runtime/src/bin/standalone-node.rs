//! The unreplicated store on its one node.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::node_main::<standalone::Standalone, standalone::Options>(
        "standalone",
        |replica, members, options| standalone::Config { replica, members, options },
    )
}
