//! The key-value store on one node: the baseline of every comparison.
