//! What tests share: histories random or written by hand, and readers of other tools' formats.

pub(crate) mod build;
pub(crate) mod counting;
pub(crate) mod data;
pub(crate) mod edn;
pub(crate) mod elle;
pub(crate) mod entries;
pub(crate) mod foreign;
pub(crate) mod jsonl;
pub(crate) mod simulate;
pub(crate) mod stored;
pub(crate) mod transactions;
