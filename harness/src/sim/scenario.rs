//! Scenarios: circumstances that independent draws would hardly ever bring together.

use super::settings::Knobs;
use crate::subject::Reads;
use anyhow::{Context, bail};
use nemesis::NemesisSpec;
use serde::{Deserialize, Serialize};
use serde_yaml::{Mapping, Value};

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
    /// What is wrong with it, if anything.
    pub(crate) fn validate(&self) -> anyhow::Result<()> {
        if self.about.is_empty() {
            bail!("a scenario without `about`");
        }
        if self.nemesis.is_empty() {
            bail!("scenario `{}` has no nemesis", self.about);
        }
        if !(0.0..=1.0).contains(&self.share) || self.share == 0.0 {
            bail!("scenario `{}`: share {} is not over 0 and up to 1", self.about, self.share);
        }
        self.knobs(&Knobs::default()).map(drop)
    }

    /// These knobs with the scenario's own over them.
    pub(crate) fn knobs(&self, drawn: &Knobs) -> anyhow::Result<Knobs> {
        let Value::Mapping(mut all) = serde_yaml::to_value(drawn)? else { unreachable!("knobs are a map") };
        all.extend(self.knobs.clone());
        serde_yaml::from_value(Value::Mapping(all))
            .with_context(|| format!("scenario `{}`: knobs", self.about))
    }
}
