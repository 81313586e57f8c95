//! What the command line changes of a plan.

use crate::plan::{Counts, Plan, World};
use crate::subject::{Reads, Subject};
use anyhow::Context;
use nemesis::{Fault, NemesisSpec, Targets};
use std::time::Duration;
use workloads::Spec;

/// What the command line changes of a plan.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub(crate) struct Overrides {
    /// Every random choice follows from it
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where it runs
    #[arg(long, value_enum)]
    pub world: Option<World>,
    /// Length of each run phase (`30s`, `5m`)
    #[arg(long, value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Only these workloads, by name, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub workload: Vec<String>,
    /// Only these subjects, by their name in the plan or a system's name, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub subject: Vec<String>,
    /// These faults instead of the plan's, by name, separated by commas; `none` for none
    #[arg(long, value_delimiter = ',')]
    pub nemesis: Vec<String>,
    /// Operations a second (open loop)
    #[arg(long)]
    pub rate: Option<f64>,
    /// Logical clients; several numbers separated by commas make a cell each
    #[arg(long, value_delimiter = ',')]
    pub clients: Vec<u32>,
    /// Replicas of each subject
    #[arg(long)]
    pub replicas: Option<u32>,
    /// How reads are answered, by the subjects that have a choice
    #[arg(long, value_enum)]
    pub read: Option<Reads>,
    /// `fsync` or `memory`
    #[arg(long)]
    pub durability: Option<String>,
    /// How often each cell is run
    #[arg(long)]
    pub repeats: Option<u32>,
}

impl Plan {
    /// Applies the command line.
    ///
    /// # Errors
    /// If it names what is not there.
    pub(crate) fn override_with(&mut self, o: &Overrides) -> anyhow::Result<()> {
        self.seed = o.seed.or(self.seed);
        self.world = o.world.unwrap_or(self.world);
        self.duration = o.duration.unwrap_or(self.duration);
        self.replicas = o.replicas.unwrap_or(self.replicas);
        self.repeats = o.repeats.unwrap_or(self.repeats);
        self.load.rate = o.rate.or(self.load.rate);
        if !o.clients.is_empty() {
            self.load.clients = Counts(o.clients.clone());
        }
        if !o.workload.is_empty() {
            let planned = std::mem::take(&mut self.workloads);
            for name in &o.workload {
                let spec = planned.iter().find(|spec| spec.name() == *name).cloned();
                self.workloads
                    .push(spec.map_or_else(|| Spec::by_name(name).map_err(anyhow::Error::msg), Ok)?);
            }
        }
        if !o.subject.is_empty() {
            let planned = std::mem::take(&mut self.subjects);
            for name in &o.subject {
                let subject = planned.iter().find(|subject| subject.name == *name).cloned();
                self.subjects
                    .push(subject.map_or_else(|| Subject::by_name(name).map_err(anyhow::Error::msg), Ok)?);
            }
        }
        if !self.subjects.iter().any(|subject| Some(&subject.name) == self.baseline.as_ref()) {
            self.baseline = None;
        }
        if !o.nemesis.is_empty() {
            self.schedule = None;
            self.nemesis = named_faults(&o.nemesis, self.duration)?;
        }
        if let Some(sim) = &mut self.sim {
            sim.override_with(o.replicas, &o.workload, &o.nemesis);
        }
        for subject in &mut self.subjects {
            if let Some(reads) = o.read {
                subject.override_reads(reads);
            }
            if let Some(durability) = &o.durability {
                subject.durability = serde_yaml::from_str(durability).map_err(|_| {
                    anyhow::anyhow!("--durability {durability}: expected `fsync` or `memory`")
                })?;
            }
        }
        Ok(())
    }
}

/// The nemesis that bare fault names mean: one line each, spread over the run.
fn named_faults(names: &[String], duration: Duration) -> anyhow::Result<Vec<NemesisSpec>> {
    if names == ["none"] {
        return Ok(Vec::new());
    }
    let every = (duration / 3).clamp(Duration::from_secs(4), Duration::from_secs(20));
    let mut specs = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let fault = Fault::by_name(name).with_context(|| {
            format!("--nemesis {name}: unknown fault, expected `none` or some of {}", Fault::NAMES.join(", "))
        })?;
        let share = every.mul_f64((i as f64 + 0.5) / names.len() as f64);
        specs.push(NemesisSpec {
            faults: vec![fault],
            targets: Targets::One,
            start: share,
            every: Some(every),
            lasts: every / 3,
            jitter: 0.1,
            flaps: None,
        });
    }
    Ok(specs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sound as plan;
    use crate::subjects::tests::some;

    const PLAN: &str = concat!(
        "
name: t
subjects: ",
        some!(),
        "
workloads: [register, { ycsb-a: { records: 10 } }]
duration: 20s
sim:
  replicas: [3, 5]
  scenarios:
    - { about: s, share: 1, replicas: [7], workloads: [bank], nemesis: [{ faults: [kill], start: 1s, for: 1s }] }
"
    );

    #[test]
    fn the_command_line_changes_what_it_names_and_nothing_else() {
        let mut changed = plan(PLAN);
        let overrides = Overrides {
            seed: Some(3),
            workload: vec!["ycsb-a".into(), "append".into()],
            subject: vec!["stale".into()],
            nemesis: vec!["pause".into(), "partition-leader".into()],
            clients: vec![7],
            read: Some(Reads::Lease),
            durability: Some("memory".into()),
            ..Overrides::default()
        };
        changed.override_with(&overrides).unwrap();
        changed.validate().unwrap();
        assert_eq!(changed.workloads[0], plan(PLAN).workloads[1], "the plan's own options are kept");
        assert_eq!(changed.workloads[1].name(), "append");
        assert_eq!((changed.subjects.len(), changed.subjects[0].reads), (1, Reads::Lease));
        assert_eq!(changed.load.clients, Counts(vec![7]));
        assert_eq!(changed.nemesis.len(), 2);
        assert_eq!(changed.duration, plan(PLAN).duration);
        let mut unknown = plan(PLAN);
        let refused =
            unknown.override_with(&Overrides { nemesis: vec!["meteor".into()], ..Overrides::default() });
        assert!(refused.unwrap_err().to_string().contains("meteor"));
    }

    #[test]
    fn what_the_command_line_names_no_seed_draws_otherwise() {
        let drawn = |overrides: Overrides| {
            let mut changed = plan(PLAN);
            changed.override_with(&overrides).unwrap();
            let cell = crate::sim::settings::resolve(&changed, 5).unwrap();
            (
                cell.replicas(),
                cell.workload().name(),
                cell.schedule().iter().any(|fault| fault.name == "kill"),
            )
        };
        assert_eq!(drawn(Overrides::default()), (7, "bank", true));
        assert_eq!(drawn(Overrides { replicas: Some(4), ..Overrides::default() }), (4, "bank", true));
        assert_eq!(drawn(Overrides { workload: vec!["append".into()], ..Overrides::default() }).1, "append");
        assert!(!drawn(Overrides { nemesis: vec!["pause".into()], ..Overrides::default() }).2);
    }
}
