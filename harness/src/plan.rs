//! A plan: subjects × workloads × client counts × repeats, under one nemesis.
//!
//! A plan is parsed once; every unknown key, missing value or impossible number is one error that names file, line and
//! what was expected. *Resolving* it makes every random choice from the seed; the resolved plan of one cell is again
//! a plan, and running it makes the same choices.

use crate::cluster::{CPUS_MAX, CPUS_MIN};
use crate::sim::Simulation;
use crate::subject::{Subject, faults};
use crate::topology::Topology;
use anyhow::{Context, bail};
use nemesis::{Fault, Injection, NemesisSpec};
use protocol::{NodeId, Placement};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use workloads::Spec;
use workloads::load::ArrivalProcess;

/// The shortest run phase that a plan may have.
pub(crate) const DURATION_MIN: Duration = Duration::from_secs(1);

/// What to run. Durations are written `30s`, `500ms`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Its name in the store; the file's name where it is left out.
    #[serde(default)]
    pub name: String,
    /// One line for `list` and the report.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Every random choice follows from it; drawn and written down where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Where it runs.
    #[serde(default)]
    pub world: World,
    /// Replicas of each subject.
    #[serde(default = "three")]
    pub replicas: u32,
    /// Nodes beside them that are not members from the beginning, for a nemesis that changes members.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spares: u32,
    /// The systems under test. `compare` runs all, `run` the first (or the one named by `--subject`).
    pub subjects: Vec<Subject>,
    /// What clients do.
    pub workloads: Vec<Spec>,
    /// How long the run phase of each cell is.
    #[serde(with = "humantime_serde")]
    pub duration: Duration,
    /// How many clients, and how they arrive.
    #[serde(default)]
    pub load: Load,
    /// Where nodes and clients are, and how far that is. Left out, everything is near.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<Topology>,
    /// How many processors a node may use, by a control group of its own. Where `cluster.conf` says it of a host, too, the smaller holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<f64>,
    /// A sync of the journal takes at least so long on nodes of ours: a slow disk. (Simulated machines draw their own.)
    #[serde(with = "humantime_serde", default, skip_serializing_if = "Option::is_none")]
    pub journal_sync_min: Option<Duration>,
    /// Faults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nemesis: Vec<NemesisSpec>,
    /// Faults with every choice made: what a resolved plan has instead of `nemesis`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Vec<Injection>>,
    /// What is judged, and how hard.
    #[serde(default)]
    pub checks: Checks,
    /// How often each cell is run; repeats of different cells alternate.
    #[serde(default = "one")]
    pub repeats: u32,
    /// How `gauntlet sim` runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sim: Option<Simulation>,
    /// The subject that ratios refer to; the last where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
}

fn three() -> u32 {
    3
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn one() -> u32 {
    1
}

/// Where a plan runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum World {
    /// Node processes on loopback
    #[default]
    Local,
    /// Hosts of `cluster.conf`, over SSH
    Ssh,
}

impl World {
    /// Where its nodes are.
    #[must_use]
    pub(crate) fn place(self) -> faults::Place {
        match self {
            World::Local => faults::Place::Here,
            World::Ssh => faults::Place::Hosts,
        }
    }

    /// The name in plans and reports.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            World::Local => "local",
            World::Ssh => "ssh",
        }
    }
}

/// How clients load the subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Load {
    /// Logical clients; a list makes a cell for each number.
    pub clients: Counts,
    /// Operations a second over all clients, on a schedule of their own (open loop). Without it each client asks again
    /// when it is answered (closed loop).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// How open-loop operations follow one another: `poisson` or `fixed`.
    pub arrivals: ArrivalProcess,
    /// An operation without an answer for so long has an unknown outcome.
    #[serde(with = "humantime_serde")]
    pub op_timeout: Duration,
    /// Without an answer for so long, a client tries again.
    #[serde(with = "humantime_serde")]
    pub attempt_timeout: Duration,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            clients: Counts(vec![12]),
            rate: None,
            arrivals: ArrivalProcess::Poisson,
            op_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_millis(500),
        }
    }
}

/// One number or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "CountsInput", into = "CountsInput")]
pub(crate) struct Counts(pub Vec<u32>);

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number, or a list of numbers, up to 100000")]
enum CountsInput {
    One(u32),
    Several(Vec<u32>),
}

impl From<CountsInput> for Counts {
    fn from(input: CountsInput) -> Self {
        match input {
            CountsInput::One(n) => Counts(vec![n]),
            CountsInput::Several(several) => Counts(several),
        }
    }
}

impl From<Counts> for CountsInput {
    fn from(counts: Counts) -> Self {
        match counts.0[..] {
            [n] => CountsInput::One(n),
            _ => CountsInput::Several(counts.0),
        }
    }
}

/// What is judged, and how hard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Checks {
    /// Whether histories are judged for consistency. Benchmarks of hours may leave it out; the report says so.
    pub consistency: bool,
    /// A checker that takes longer says unknown.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// Mebibytes that a checker may use before it says unknown.
    pub memory_mib_max: usize,
    /// Of each kind of operation so many must succeed in the run phase.
    pub ok_min_per_kind: u64,
    /// So many operations must be answered a second of the run phase, or the run says too little.
    pub ok_per_s_min: f64,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            consistency: true,
            deadline: Duration::from_secs(60),
            memory_mib_max: 4096,
            ok_min_per_kind: 10,
            ok_per_s_min: 1.0,
        }
    }
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// With file, line and what was expected.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Plan> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading plan {}", path.display()))?;
        let mut plan = Plan::parse(&text).with_context(|| format!("plan {}", path.display()))?;
        if plan.name.is_empty() {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("plan");
            plan.name = stem.into();
        }
        Ok(plan)
    }

    /// Parses a plan's text.
    ///
    /// # Errors
    /// With line and what was expected.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Plan> {
        let document = serde_yaml::Deserializer::from_str(text);
        Ok(serde_yaml::with::singleton_map_recursive::deserialize(document)?)
    }

    /// The plan's text.
    #[must_use]
    pub(crate) fn to_yaml(&self) -> String {
        let mut out = Vec::new();
        let mut serializer = serde_yaml::Serializer::new(&mut out);
        serde_yaml::with::singleton_map_recursive::serialize(self, &mut serializer)
            .expect("a plan is plain data");
        drop(serializer);
        String::from_utf8(out).expect("YAML is text")
    }

    /// What cannot be run, if anything.
    ///
    /// # Errors
    /// With the key and what was expected.
    pub(crate) fn validate(&self) -> anyhow::Result<()> {
        // It becomes a folder's.
        let is_fit = |c: char| c.is_alphanumeric() || "-_. ".contains(c);
        if self.name.starts_with('.') || !self.name.chars().all(is_fit) || self.name.len() > 100 {
            bail!("name `{}` cannot be a folder's: up to 100 letters, digits, spaces, - _ . only", self.name);
        }
        if self.subjects.is_empty() || self.workloads.is_empty() {
            bail!("a plan needs at least one of `subjects` and one of `workloads`");
        }
        let mut names = BTreeSet::new();
        for subject in &self.subjects {
            if let Some(problem) = subject.problem() {
                bail!("subject {}: {problem}", subject.name);
            }
            if !names.insert(&subject.name) {
                bail!("two subjects are named {}", subject.name);
            }
        }
        if let Some(baseline) = &self.baseline
            && !names.contains(baseline)
        {
            bail!("baseline {baseline} is not a subject of the plan");
        }
        within("replicas", f64::from(self.replicas), 1.0, 99.0)?;
        within("repeats", f64::from(self.repeats), 1.0, 1000.0)?;
        let longest = 7.0 * 86_400.0;
        within("duration (seconds)", self.duration.as_secs_f64(), DURATION_MIN.as_secs_f64(), longest)?;
        within("op_timeout (seconds)", self.load.op_timeout.as_secs_f64(), 0.05, 600.0)?;
        if self.load.attempt_timeout.is_zero() || self.load.attempt_timeout > self.load.op_timeout {
            bail!("attempt_timeout must be over 0 and up to op_timeout");
        }
        if self.load.clients.0.is_empty() {
            bail!("clients is an empty list");
        }
        for clients in &self.load.clients.0 {
            within("clients", f64::from(*clients), 1.0, 100_000.0)?;
        }
        if let Some(links) = &self.links {
            self.validate_links(links)?;
        }
        if let Some(cpus) = self.cpu_quota {
            within("cpu_quota", cpus, CPUS_MIN, CPUS_MAX)?;
        }
        if let Some(least) = self.journal_sync_min {
            within("journal_sync_min (seconds)", least.as_secs_f64(), 0.001, 0.999)?;
        }
        if let Some(rate) = self.load.rate {
            within("rate", rate, 0.1, 10e6)?;
        }
        if let Some(sim) = &self.sim {
            sim.validate()?;
        }
        within("ok_per_s_min", self.checks.ok_per_s_min, 0.0, 10e6)?;
        let mut workloads = BTreeSet::new();
        for workload in &self.workloads {
            if !workloads.insert(workload.name()) {
                bail!("two workloads are named {}", workload.name());
            }
            workload
                .validate()
                .map_err(|problem| anyhow::anyhow!("workload {}: {problem}", workload.name()))?;
        }
        for subject in &self.subjects {
            for workload in &self.workloads {
                (subject.system.properties().workloads)(workload).map_err(|why| {
                    anyhow::anyhow!("{} cannot have the workload {}: {why}", subject.name, workload.name())
                })?;
            }
            if subject.is_control() && !self.checks.consistency {
                bail!("subject {}: `expect: invalid`, but `checks.consistency` is off", subject.name);
            }
            self.check_schedule(subject).with_context(|| format!("subject {}", subject.name))?;
            if let Some(problem) = self.faults().find_map(|fault| subject.lacks_kinds(fault)) {
                bail!("subject {}: {problem}", subject.name);
            }
            for scenario in self.sim.iter().flat_map(|sim| &sim.scenarios) {
                let named = || format!("scenario `{}`", scenario.about);
                scenario.validate(subject).with_context(named)?;
                nemesis::schedule::check_lines(&scenario.nemesis, &self.nodes(subject))
                    .with_context(named)?;
            }
        }
        Ok(())
    }

    /// All nodes of a subject, and the replicas that they stand for: its founding members, then those that may become members.
    #[must_use]
    pub(crate) fn placement(&self, subject: &Subject) -> Placement {
        let spares = if subject.system.properties().changes_members { self.spares } else { 0 };
        Placement::one_each(subject.replicas_under(self.replicas) + spares)
    }

    /// All nodes of a subject.
    #[must_use]
    pub(crate) fn nodes(&self, subject: &Subject) -> Vec<NodeId> {
        self.placement(subject).nodes().collect()
    }

    /// What of the nemesis a subject can have, and what is left out, in words.
    pub(crate) fn possible_for(
        &self,
        subject: &Subject,
        place: faults::Place,
    ) -> (Vec<NemesisSpec>, Vec<String>) {
        faults::possible(subject, subject.replicas_under(self.replicas), place, &self.nemesis)
    }

    /// Whether every line of the nemesis can be had by some subject.
    ///
    /// # Errors
    /// Which line cannot, and why.
    pub(crate) fn check_possible(&self, place: faults::Place) -> anyhow::Result<()> {
        let subjects: Vec<_> =
            self.subjects.iter().map(|subject| (subject, subject.replicas_under(self.replicas))).collect();
        faults::impossible(&subjects, place, &self.nemesis).map_or(Ok(()), |words| bail!(words))
    }

    /// Whether the faults make sense on a subject's nodes.
    fn check_schedule(&self, subject: &Subject) -> anyhow::Result<()> {
        let nodes = self.nodes(subject);
        match &self.schedule {
            Some(drawn) => nemesis::schedule::check_drawn(drawn, &nodes).map_err(anyhow::Error::msg),
            None => Ok(nemesis::schedule::check_lines(&self.nemesis, &nodes)?),
        }
    }

    /// The faults of a run of processes, with every choice made, and what of the nemesis is left out, in words.
    fn schedule_for(&self, subject: &Subject, seed: u64) -> anyhow::Result<(Vec<Injection>, Vec<String>)> {
        if let Some(drawn) = &self.schedule {
            return Ok((drawn.clone(), Vec::new()));
        }
        let (nodes, quorums) = (self.nodes(subject), subject.system.properties().quorums);
        let (possible, left_out) = self.possible_for(subject, self.world.place());
        Ok((nemesis::schedule::resolve(&possible, self.duration, &nodes, quorums, seed)?, left_out))
    }

    fn validate_links(&self, links: &Topology) -> anyhow::Result<()> {
        if let Some(problem) = links.problem(&self.all_nodes()) {
            bail!("links: {problem}");
        }
        let (longest, patience) = (links.longest(), self.load.attempt_timeout);
        if longest >= patience {
            bail!(
                "attempt_timeout is {patience:?}, expected over the longest round trip of `links`, {longest:?}"
            );
        }
        let foreign = self.subjects.iter().find(|subject| !subject.system.is_ours());
        match (self.world, foreign) {
            (World::Local, Some(Subject { name, system, .. })) => bail!(
                "links: subject {name}: {} is a foreign process, and only the kernels of hosts of its own can hold back what it sends \
                 (world: ssh)",
                system.name()
            ),
            (World::Local, None) | (World::Ssh, _) => Ok(()),
        }
    }

    /// All nodes that any subject, or any seed in the simulator, may have. A resolved plan says how many those are.
    fn all_nodes(&self) -> BTreeSet<NodeId> {
        let drawn = self.sim.as_ref().filter(|_| self.schedule.is_none());
        let replicas = drawn.into_iter().flat_map(|sim| {
            sim.replicas.iter().chain(sim.scenarios.iter().flat_map(|scenario| &scenario.replicas))
        });
        let spares = drawn.into_iter().flat_map(|sim| {
            sim.spares.iter().chain(sim.scenarios.iter().flat_map(|scenario| &scenario.spares))
        });
        let most = |own: u32, drawn: &mut dyn Iterator<Item = &u32>| drawn.copied().fold(own, u32::max);
        let plan = Plan {
            replicas: most(self.replicas, &mut replicas.into_iter()),
            spares: most(self.spares, &mut spares.into_iter()),
            ..self.clone()
        };
        self.subjects.iter().flat_map(|subject| plan.nodes(subject)).collect()
    }

    /// Every fault that it names.
    fn faults(&self) -> impl Iterator<Item = &Fault> {
        let scenarios = self.sim.iter().flat_map(|sim| &sim.scenarios);
        let specs = self.nemesis.iter().chain(scenarios.flat_map(|scenario| &scenario.nemesis));
        let drawn = self.schedule.iter().flatten().map(|injection| &injection.fault);
        specs.flat_map(|spec| &spec.faults).chain(drawn)
    }

    /// The name of the subject that ratios refer to.
    #[must_use]
    pub(crate) fn baseline_name(&self) -> &str {
        let last = self.subjects.last().expect("validated: not empty");
        self.baseline.as_deref().unwrap_or(&last.name)
    }

    /// All cells in the order in which they run: repeats outermost, subjects innermost, so that what is compared is run
    /// close together in time.
    ///
    /// # Errors
    /// If the nemesis cannot be carried out.
    pub(crate) fn cells(&self, seed: u64) -> anyhow::Result<Vec<Cell>> {
        self.check_possible(self.world.place())?;
        let mut cells = Vec::new();
        for repeat in 1..=self.repeats {
            for workload in &self.workloads {
                for clients in &self.load.clients.0 {
                    for subject in &self.subjects {
                        cells.push(self.cell(seed, repeat, workload, *clients, subject)?);
                    }
                }
            }
        }
        Ok(cells)
    }

    fn cell(
        &self,
        seed: u64,
        repeat: u32,
        workload: &Spec,
        clients: u32,
        subject: &Subject,
    ) -> anyhow::Result<Cell> {
        let mut folder = workload.name().to_string();
        if self.load.clients.0.len() > 1 {
            folder += &format!("-{clients}c");
        }
        folder += &format!("-{}", subject.name);
        if self.repeats > 1 {
            folder += &format!("-{repeat}");
        }
        // Subjects of one repeat meet the same seed, hence the same load and the same storm.
        let seed = seed.wrapping_add(u64::from(repeat - 1));
        let (schedule, left_out) = self.schedule_for(subject, seed)?;
        let plan = Plan {
            seed: Some(seed),
            subjects: vec![subject.clone()],
            workloads: vec![workload.clone()],
            load: Load { clients: Counts(vec![clients]), ..self.load.clone() },
            nemesis: Vec::new(),
            schedule: Some(schedule),
            links: self.links.as_ref().map(|links| links.among(&self.nodes(subject))),
            repeats: 1,
            baseline: None,
            ..self.clone()
        };
        Ok(Cell { folder, seed, plan, left_out })
    }
}

/// One run: one subject, one workload, one number of clients, every choice made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cell {
    /// Its folder below a comparison's.
    pub folder: String,
    /// Its seed.
    pub seed: u64,
    /// The resolved plan.
    pub plan: Plan,
    /// What of the nemesis its subject cannot have, and why, in words.
    pub left_out: Vec<String>,
}

impl Cell {
    /// The only subject.
    #[must_use]
    pub(crate) fn subject(&self) -> &Subject {
        &self.plan.subjects[0]
    }

    /// The only workload.
    #[must_use]
    pub(crate) fn workload(&self) -> &Spec {
        &self.plan.workloads[0]
    }

    /// How many clients.
    #[must_use]
    pub(crate) fn clients(&self) -> u32 {
        self.plan.load.clients.0[0]
    }

    /// How many replicas.
    #[must_use]
    pub(crate) fn replicas(&self) -> u32 {
        self.subject().replicas_under(self.plan.replicas)
    }

    /// The faults to come.
    #[must_use]
    pub(crate) fn schedule(&self) -> &[Injection] {
        self.plan.schedule.as_deref().unwrap_or_default()
    }
}

fn within(what: &str, value: f64, least: f64, most: f64) -> anyhow::Result<()> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        bail!("{what} is {value}, expected {least} to {most}")
    }
}

/// A plan that can be run.
#[cfg(test)]
pub(crate) fn sound(text: &str) -> Plan {
    let plan = Plan::parse(text).unwrap();
    plan.validate().unwrap();
    plan
}

#[cfg(test)]
mod tests {
    use super::sound as plan;
    use super::*;
    use crate::subject::System;
    use crate::subjects::tests::some;

    const PLAN: &str = concat!(
        "
name: t
subjects: ",
        some!(),
        "
workloads: [register, { ycsb-a: { records: 10 } }]
duration: 20s
load: { clients: [1, 4] }
nemesis:
  - { faults: [kill, { partition: halves }], targets: one, start: 1s, every: 4s, for: 1s }
repeats: 2
"
    );

    fn refusal(text: &str) -> String {
        let error = Plan::parse(text).and_then(|plan| plan.validate()).expect_err("it cannot be run");
        format!("{error:#}")
    }

    #[test]
    fn cells_alternate_subjects_and_a_resolved_plan_resolves_to_itself() {
        let cells = plan(PLAN).cells(9).unwrap();
        assert_eq!(cells.len(), 2 * 2 * 2 * 3);
        assert!(cells[0].folder.starts_with("register-1c-"), "{}", cells[0].folder);
        assert_eq!(cells[1].folder, "register-1c-stale-1");
        assert_eq!(cells[23].folder, "ycsb-a-4c-standalone-2");
        assert_eq!((cells[2].replicas(), cells[0].replicas()), (1, 3));
        assert_eq!(
            cells[0].schedule(),
            cells[3].schedule(),
            "one storm for all cells of a subject and repeat"
        );
        for cell in &cells {
            let again = plan(&cell.plan.to_yaml());
            assert_eq!(again, cell.plan, "{}", cell.plan.to_yaml());
            let same = again.cells(again.seed.unwrap()).unwrap();
            assert_eq!((same.len(), &same[0].plan), (1, &cell.plan));
        }
    }

    #[test]
    fn what_is_wrong_with_a_plan_is_named() {
        let with = |from: &str, to: &str| PLAN.replace(from, to);
        for (text, expected) in [
            (with("duration:", "durration:"), "durration"),
            (with("name: t", "name: ../../t"), "name `../../t` cannot be a folder's"),
            (with("[1, 4]", "99999999999"), "expected a number, or a list of numbers"),
            (with("standalone]", "standalome]"), "unknown system `standalome`"),
            (with("reads: local", "reads: lokal"), "lokal"),
            (with("reads: local", "options: { elections: 3 }"), "elections"),
            (with("register,", "registre,"), "registre"),
            (with("halves", "quarters"), "quarters"),
            (with("duration: 20s", "duration: 20ms"), "duration (seconds) is 0.02"),
            (with("[1, 4]", "[]"), "clients is an empty list"),
            (with("stale", "standalone"), "two subjects are named standalone"),
            (with("repeats: 2", "baseline: nobody"), "baseline nobody"),
            (with("repeats: 2", "journal_sync_min: 2s"), "journal_sync_min (seconds) is 2"),
            (with("repeats: 2", "cpu_quota: 0"), "cpu_quota is 0, expected 0.01 to 1024"),
            (with("repeats: 2", "checks: { ok_per_s_min: -1 }"), "ok_per_s_min is -1"),
        ] {
            let error = refusal(&text);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_topology_is_of_all_nodes_that_the_plan_may_have_and_a_cells_of_its_own() {
        let links = "links: { zones: { a: [n1, n2], b: [n3] }, rtt: { a-b: 40ms } }\n";
        let cells = plan(&format!("{PLAN}{links}")).cells(9).unwrap();
        for cell in &cells {
            let again = plan(&cell.plan.to_yaml());
            assert_eq!(again, cell.plan);
            let nodes = again.links.as_ref().unwrap().zones.values().map(Vec::len).sum::<usize>();
            assert_eq!(nodes, cell.replicas() as usize, "{}", cell.folder);
        }
        let five = "sim: { replicas: [3, 5] }\n";
        let error = refusal(&format!("{PLAN}{links}{five}"));
        assert!(error.contains("links: zones: n4 is in none, expected in one of a, b"), "{error}");
        let all = links.replace("[n3]", "[n3, n4, n5]");
        let drawn = crate::sim::settings::resolve(&plan(&format!("{PLAN}{all}{five}")), 1).unwrap();
        plan(&drawn.plan.to_yaml());
        let slow = links.replace("40ms", "500ms");
        let error = refusal(&format!("{PLAN}{slow}"));
        assert!(error.contains("attempt_timeout is 500ms, expected over the longest round trip"), "{error}");
        for system in System::all().filter(|system| !system.is_ours()) {
            let error =
                refusal(&format!("{PLAN}{links}").replace("standalone]", &format!("{}]", system.name())));
            assert!(error.contains("a foreign process"), "{error}");
            let on_hosts = format!("{PLAN}{links}world: ssh\n");
            plan(&on_hosts.replace("standalone]", &format!("{}]", system.name())));
        }
    }

    #[test]
    fn kinds_of_messages_are_those_of_the_subjects_protocol() {
        let with = |subject: &str, kinds: &str| {
            let fault = format!("{{ loss: {{ probability: 1, kinds: {kinds} }} }}");
            let line = |key: &str| PLAN.lines().find(|line| line.starts_with(key)).expect("there is one");
            PLAN.replace(line("subjects:"), &format!("subjects: [{subject}]"))
                .replace(line("workloads:"), "workloads: [{ register: { cas: 0 } }]")
                .replace("kill", &fault)
        };
        let mut refused = 0;
        for system in System::all() {
            let subject = system.name();
            match system.message_kinds() {
                Some([]) => {
                    let error = refusal(&with(subject, "[vote]"));
                    assert!(error.contains("has no messages between its nodes"), "{error}");
                }
                Some(known) => {
                    plan(&with(subject, &format!("[{}]", known.join(", "))));
                    let error = refusal(&with(subject, &format!("[{}, vole]", known[0])));
                    assert!(error.contains("no messages of kind `vole`, expected of "), "{error}");
                    assert!(known.iter().all(|kind| error.contains(kind)), "{error}");
                }
                None => {
                    let error = refusal(&with(subject, "[vote]"));
                    assert!(error.contains("nothing on a link can tell"), "{error}");
                }
            }
            refused += 1;
        }
        assert!(refused >= 4);
        let error = refusal(&with(System::all().next().expect("there are some").name(), "[]"));
        assert!(error.contains("kinds is empty"), "{error}");
    }

    #[test]
    fn a_parse_error_names_the_line() {
        let error = refusal(&PLAN.replace("duration:", "durration:"));
        assert!(error.contains("line 5"), "{error}");
    }

    #[test]
    fn the_plans_that_come_with_the_project_can_be_run() {
        let plans = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plans");
        let mut seen = 0;
        for entry in std::fs::read_dir(plans).unwrap() {
            let path = entry.unwrap().path();
            let plan = Plan::load(&path).unwrap();
            plan.validate().unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
            assert!(!plan.about.is_empty(), "{} does not say what it is about", path.display());
            seen += 1;
        }
        assert!(seen >= 3);
    }
}
