//! One replica of the example.

fn main() -> std::process::ExitCode {
    runtime::node_main::<toy::Toy>()
}
