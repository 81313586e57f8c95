//! What tests share: random histories, and readers of other tools' formats.

pub(crate) mod build;
pub(crate) mod entries;
pub(crate) mod jsonl;
