//! What a person looks at: series, plots, tables, one self-contained HTML page.
//!
//! Reads a stored run only.

pub mod stored;
