//! YCSB's core workloads A to F (Cooper et al., SoCC 2010) with the definitions of the upstream implementation.
//!
//! | | proportions | distribution |
//! |---|---|---|
//! | A | 50 % read, 50 % update | zipfian |
//! | B | 95 % read, 5 % update | zipfian |
//! | C | 100 % read | zipfian |
//! | D | 95 % read, 5 % insert | latest |
//! | E | 95 % scan of 1 to 100 records, 5 % insert | zipfian |
//! | F | 50 % read, 50 % read-modify-write | zipfian |
//!
//! Reads return all fields of a record, updates write one. Records are `user` and a hash, so insertion is in no order.
//! Deviations: a failed insertion is tried again (upstream counts it as done, and reads then miss it).

pub mod distribution;
mod generator;
pub mod hash;
pub(crate) mod inserts;

pub use distribution::Distribution;
pub(crate) use generator::YcsbRun;

use crate::spec::{SpecError, fraction, within};
use crate::values::{Layout, Names, VALUE_BYTES_MIN};
use checkers::history::OpKind;
use kv::command::{RECORD_FIELDS_MAX, SCAN_ROWS_MAX, VALUE_BYTES_MAX};
use serde::{Deserialize, Serialize};

/// Which of the core workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    A,
    B,
    C,
    D,
    E,
    F,
}

/// A core workload with its options.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ycsb {
    /// Its letter, which is in the workload's name.
    #[serde(skip)]
    pub core: Core,
    /// Records loaded before the run.
    pub records: u64,
    /// Fields in a record.
    pub fields: u32,
    /// Bytes in a field.
    pub field_bytes: usize,
    /// How often each op comes.
    pub proportions: Proportions,
    /// Which records ops go to.
    #[serde(with = "serde_yaml::with::singleton_map")]
    pub distribution: Distribution,
    /// A scan asks for 1 to this many records, uniformly.
    pub scan_rows_max: u32,
    /// Records that the run is expected to add: the zipfian distribution spreads over them from the start.
    pub inserts_expected: u64,
}

/// How often each op comes. They need not add up to one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Proportions {
    pub read: f64,
    pub update: f64,
    pub insert: f64,
    pub scan: f64,
    pub read_modify_write: f64,
}

impl Proportions {
    fn weights(&self) -> [(f64, OpKind); 5] {
        [
            (self.read, OpKind::Read),
            (self.update, OpKind::Update),
            (self.insert, OpKind::Insert),
            (self.scan, OpKind::Scan),
            (self.read_modify_write, OpKind::ReadModifyWrite),
        ]
    }
}

/// What a plan may say; what it does not follows from the letter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct YcsbOptions {
    records: Option<u64>,
    fields: Option<u32>,
    field_bytes: Option<usize>,
    proportions: Option<Proportions>,
    #[serde(with = "serde_yaml::with::singleton_map")]
    distribution: Option<Distribution>,
    scan_rows_max: Option<u32>,
    inserts_expected: Option<u64>,
}

impl Core {
    fn proportions(self) -> Proportions {
        let none = Proportions::default();
        match self {
            Core::A => Proportions { read: 0.5, update: 0.5, ..none },
            Core::B => Proportions { read: 0.95, update: 0.05, ..none },
            Core::C => Proportions { read: 1.0, ..none },
            Core::D => Proportions { read: 0.95, insert: 0.05, ..none },
            Core::E => Proportions { scan: 0.95, insert: 0.05, ..none },
            Core::F => Proportions { read: 0.5, read_modify_write: 0.5, ..none },
        }
    }

    /// The workload's name in plans.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Core::A => "ycsb-a",
            Core::B => "ycsb-b",
            Core::C => "ycsb-c",
            Core::D => "ycsb-d",
            Core::E => "ycsb-e",
            Core::F => "ycsb-f",
        }
    }
}

impl Ycsb {
    /// The core workload as upstream defines it, with 1,000 records.
    #[must_use]
    pub fn new(core: Core) -> Self {
        Self::with(core, &YcsbOptions::default())
    }

    pub(crate) fn with(core: Core, options: &YcsbOptions) -> Self {
        let records = options.records.unwrap_or(1_000);
        let proportions = options.proportions.unwrap_or_else(|| core.proportions());
        let distribution = if core == Core::D { Distribution::Latest } else { Distribution::Zipfian };
        let inserts_expected = if proportions.insert > 0.0 { records } else { 0 };
        Self {
            core,
            records,
            fields: options.fields.unwrap_or(10),
            field_bytes: options.field_bytes.unwrap_or(100),
            proportions,
            distribution: options.distribution.unwrap_or(distribution),
            scan_rows_max: options.scan_rows_max.unwrap_or(100),
            inserts_expected: options.inserts_expected.unwrap_or(inserts_expected),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), SpecError> {
        within("records", self.records, 1, 1_000_000_000)?;
        within("fields", u64::from(self.fields), 1, RECORD_FIELDS_MAX as u64)?;
        let field_bytes_max = VALUE_BYTES_MAX as u64 / u64::from(self.fields);
        within("field_bytes", self.field_bytes as u64, VALUE_BYTES_MIN as u64, field_bytes_max)?;
        // A scan's answer must fit into a frame.
        let record_bytes = u64::from(self.fields) * (self.field_bytes as u64 + 2) + 64;
        let rows_max =
            (protocol::frame::PAYLOAD_BYTES_MAX as u64 / 2 / record_bytes).min(u64::from(SCAN_ROWS_MAX));
        within("scan_rows_max", u64::from(self.scan_rows_max), 1, rows_max.max(1))?;
        within("inserts_expected", self.inserts_expected, 0, self.records.saturating_mul(100))?;
        for (weight, kind) in self.proportions.weights() {
            fraction("proportions", kind.name(), weight)?;
        }
        if self.expected_kinds().is_empty() {
            return Err(SpecError::NoOps);
        }
        match self.distribution {
            Distribution::Zipfian | Distribution::Latest | Distribution::Uniform => Ok(()),
            Distribution::Hotspot { records, ops } => {
                fraction("hotspot", "records", records)?;
                fraction("hotspot", "ops", ops)
            }
            Distribution::Exponential { percentile, records } => {
                // Draws beyond all records are repeated: they must be the exception.
                if !(50.0..100.0).contains(&percentile) || !(1e-6..=1.0).contains(&records) {
                    let found = format!("percentile {percentile}, records {records}");
                    let allowed = "percentile from 50 to under 100, records from 0.000001 to 1";
                    return Err(SpecError::Option {
                        option: "exponential".into(),
                        found,
                        allowed: allowed.into(),
                    });
                }
                Ok(())
            }
        }
    }

    pub(crate) fn expected_kinds(&self) -> Vec<OpKind> {
        self.proportions
            .weights()
            .into_iter()
            .filter(|(weight, _)| *weight > 0.0)
            .map(|(_, kind)| kind)
            .collect()
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout { names: Names::Users, value_bytes: self.field_bytes, fields: self.fields }
    }
}
