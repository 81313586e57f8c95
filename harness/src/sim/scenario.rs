//! Scenarios: circumstances that independent draws would hardly ever bring together.

use super::settings::Knobs;
use crate::subject::{Reads, Subject};
use anyhow::{Context, bail};
use nemesis::NemesisSpec;
use serde::{Deserialize, Serialize};
use serde_yaml::{Mapping, Value};
use workloads::Spec;

/// What a seed runs instead of its own draw. What is left out is drawn as ever.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Scenario {
    /// One line for reports.
    pub about: String,
    /// Of all seeds so many draw it, 0 to 1.
    pub share: f64,
    /// One of these is drawn.
    pub replicas: Vec<u32>,
    /// One of these is drawn.
    pub spares: Vec<u32>,
    /// One of these is drawn.
    pub workloads: Vec<Spec>,
    /// Operations a second over all clients that nobody slows down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops_per_s: Option<f64>,
    /// How reads are answered, where the subject leaves that open.
    pub reads: Reads,
    /// The protocol's own options, where the subject leaves them open.
    pub options: Mapping,
    /// Some of the machines' knobs, by name.
    pub knobs: Mapping,
    /// All of its faults.
    pub nemesis: Vec<NemesisSpec>,
}

impl Scenario {
    /// What is wrong with it for a subject, if anything.
    pub(crate) fn validate(&self, subject: &Subject) -> anyhow::Result<()> {
        if self.nemesis.is_empty() {
            bail!("no nemesis");
        }
        if !(0.0..=1.0).contains(&self.share) || self.share == 0.0 {
            bail!("share {} is not over 0 and up to 1", self.share);
        }
        self.knobs(&Knobs::default())?;
        for workload in &self.workloads {
            workload.validate().map_err(anyhow::Error::msg)?;
        }
        let mut subject = subject.clone();
        if !self.options.is_empty() {
            self.set_options(&mut subject, Mapping::new())?;
        }
        subject.problem().map_or(Ok(()), |problem| bail!("{problem}"))
    }

    /// Gives a subject its options: those drawn, the scenario's over them, and the subject's own over these.
    pub(crate) fn set_options(&self, subject: &mut Subject, mut drawn: Mapping) -> anyhow::Result<()> {
        drawn.extend(self.options.clone());
        drawn.extend(subject.options_given().map_err(anyhow::Error::msg)?);
        subject.options = Value::Mapping(drawn);
        Ok(())
    }

    /// These knobs with the scenario's own over them.
    pub(crate) fn knobs(&self, drawn: &Knobs) -> anyhow::Result<Knobs> {
        let Value::Mapping(mut all) = serde_yaml::to_value(drawn)? else { unreachable!("knobs are a map") };
        all.extend(self.knobs.clone());
        serde_yaml::from_value(Value::Mapping(all)).context("knobs")
    }
}
