//! The tokio driver of a protocol core: journal, transport, ports, clock.
