//! Whether real time and virtual time make the same of the nemesis: a simulated run's actions are taken down with the evidence that
//! each gave, and the runner of processes, given the same evidence, must want the same actions of the same nodes at the same times.

use super::one::simulate;
use super::settings::resolve;
use crate::plan::{Cell, Plan};
use crate::subject::{Deployment, System};
use checkers::history::FaultEvent;
use nemesis::{
    Action, Evidence, Exit, Fault, Group, InjectError, LinkMeans, NemesisSpec, Processes, Runner, Targets,
};
use protocol::NodeId;
use protocol::control::{NodeStatus, OneWayCondition};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::mem::Discriminant;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// What was done, when, and what came of it.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) at: Duration,
    pub(super) action: Action,
    pub(super) result: Result<Evidence, InjectError>,
}

/// All that the nemesis of a run had to do with.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) group: Option<Group>,
    pub(super) done: Vec<Done>,
    /// Each with how much had been done before it.
    pub(super) exits: Vec<(usize, NodeId, Exit)>,
    pub(super) events: Vec<FaultEvent>,
    /// When the quorum was healed, and the record ends.
    pub(super) end: Option<Duration>,
}

thread_local! {
    /// Of the run phase on this thread that began last.
    pub(super) static RECORD: RefCell<Record> = RefCell::default();
}

/// Adds to the record of this thread, unless it has ended.
pub(super) fn record(add: impl FnOnce(&mut Record)) {
    RECORD.with_borrow_mut(|record| {
        if record.end.is_none() {
            add(record);
        }
    });
}

/// Processes that give the evidence of a record.
struct Replay {
    group: Group,
    done: VecDeque<Done>,
    was_done: usize,
    exits: VecDeque<(usize, NodeId, Exit)>,
    /// What was told last of each kind: said again, it is a renewal of a lease, of which virtual time has none.
    told: BTreeMap<NodeId, Vec<(Discriminant<Action>, Action)>>,
    /// What each node had counted when it was last read.
    read: BTreeMap<NodeId, Evidence>,
    begin: Instant,
    /// The first difference.
    differs: Option<String>,
}

impl Replay {
    fn renewed(&self, action: &Action) -> Option<Evidence> {
        let node = action.node()?;
        let is_told = self.told.get(&node)?.iter().any(|(_, told)| told == action);
        let says_words = matches!(action, Action::Disk(..));
        is_told.then(|| {
            if says_words { Evidence::Words("in force".to_owned()) } else { self.read[&node].clone() }
        })
    }
}

impl Processes for Replay {
    fn group(&self) -> Group {
        self.group.clone()
    }

    async fn carry_out(&mut self, action: &Action) -> Result<Evidence, InjectError> {
        let at = self.begin.elapsed();
        let is_next = self.done.front().is_some_and(|done| done.at == at && done.action == *action);
        if !is_next {
            if let Some(evidence) = self.renewed(action) {
                return Ok(evidence);
            }
            // Behind the end of the record there is nothing to compare.
            if let Some(expected) = self.done.front() {
                let difference = format!("{at:?}: {action:?} instead of {expected:?}");
                self.differs.get_or_insert(difference);
            }
            return Err(InjectError::Unsupported("the record says nothing of this".to_owned()));
        }
        let Done { result, .. } = self.done.pop_front().expect("looked at above");
        self.was_done += 1;
        if let (Action::Links(node, _) | Action::Clock(node, _) | Action::Disk(node, _), Ok(_)) =
            (action, &result)
        {
            let kind = std::mem::discriminant(action);
            let told = self.told.entry(*node).or_default();
            told.retain(|(of, _)| *of != kind);
            told.push((kind, action.clone()));
        }
        if let (Some(node), Ok(read @ Evidence::Read(_))) = (action.node(), &result) {
            self.read.insert(node, read.clone());
        }
        result
    }

    async fn heal(&mut self, _node: NodeId) -> Result<NodeStatus, InjectError> {
        Ok(NodeStatus::default())
    }

    async fn unexpected_exits(&mut self) -> Vec<(NodeId, Exit)> {
        let mut exits = Vec::new();
        while self.exits.front().is_some_and(|(before, ..)| *before <= self.was_done) {
            exits.extend(self.exits.pop_front().map(|(_, node, exit)| (node, exit)));
        }
        exits
    }

    fn link_means(&self, _condition: &OneWayCondition) -> LinkMeans {
        LinkMeans { by: "in the simulated network", unit: "messages" }
    }

    fn clock_means(&self) -> &'static str {
        "the nodes' own clocks"
    }
}

fn ms(rng: &mut impl Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..=to))
}

fn targets(rng: &mut impl Rng) -> Targets {
    let all = [
        Targets::One,
        Targets::One,
        Targets::Minority,
        Targets::Majority,
        Targets::MinorityThird,
        Targets::Leader,
        Targets::Followers,
        Targets::Busiest,
        Targets::All,
    ];
    all.choose(rng).expect("a constant list").clone()
}

/// A line of faults of all kinds.
fn line(system: System, rng: &mut impl Rng) -> NemesisSpec {
    let mut faults = Vec::new();
    for _ in 0..rng.random_range(1..=3) {
        let name = Fault::NAMES.choose(rng).expect("there are some");
        faults.push(Fault::by_name(name).expect("it is one of the names"));
    }
    // A node that refuses its disk is replaced as soon as that is seen, and processes are looked at now and then only.
    faults.retain(|fault| *fault != Fault::BitFlip || !system.properties().changes_members);
    if faults.is_empty() {
        faults.push(Fault::Kill);
    }
    let lasts = ms(rng, 50, 2_500);
    NemesisSpec {
        faults,
        targets: targets(rng),
        start: ms(rng, 0, 3_000),
        every: rng.random_bool(0.7).then(|| ms(rng, 300, 3_000)),
        flaps: (rng.random_bool(0.1) && lasts > Duration::from_millis(200)).then(|| ms(rng, 40, 200)),
        lasts,
        jitter: 0.3,
    }
}

/// A run with faults of all kinds, at whole milliseconds: timers of processes know no less.
fn cell(system: System, seed: u64) -> Cell {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let text = format!(
        "subjects: [{}]\nreplicas: 5\nworkloads: [{{ register: {{ cas: 0 }} }}]\nduration: 10s\n\
         load: {{ clients: 3 }}\nsim: {{ swarm: false, replicas: [3, 5] }}",
        system.name()
    );
    let mut plan = Plan::parse(&text).expect("a sound plan");
    plan.nemesis = (0..rng.random_range(1..=5)).map(|_| line(system, &mut rng)).collect();
    let mut cell = resolve(&plan, seed).expect("a sound plan");
    let whole = |time: &mut Duration| {
        *time = Duration::from_millis(u64::try_from(time.as_millis()).expect("some seconds"));
    };
    for injection in cell.plan.schedule.iter_mut().flatten() {
        whole(&mut injection.at);
        whole(&mut injection.lasts);
    }
    cell
}

/// What the runner makes of a record: the first difference, and what it says of faults.
fn replay(cell: &Cell, record: Record) -> (Option<String>, usize, Vec<FaultEvent>) {
    let timers = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    timers.expect("a runtime").block_on(async {
        let processes = Replay {
            group: record.group.expect("the run phase began"),
            done: record.done.into(),
            was_done: 0,
            exits: record.exits.into(),
            told: BTreeMap::new(),
            read: BTreeMap::new(),
            begin: Instant::now(),
            differs: None,
        };
        let mut events = Vec::new();
        let runner = Runner::new(processes, cell.schedule().to_vec(), cell.seed, |event| events.push(event));
        let (stop, stopped) = watch::channel(false);
        // What is due at the very end is done before it.
        let end = record.end.expect("it was healed") + Duration::from_millis(1);
        let stopper = async {
            tokio::time::sleep(end).await;
            stop.send_replace(true);
        };
        let ((processes, _), ()) = tokio::join!(runner.run(stopped), stopper);
        (processes.differs, processes.done.len(), events)
    })
}

#[test]
fn a_thousand_random_plans_are_the_same_actions_at_the_same_times_on_processes_and_in_virtual_time() {
    let systems: Vec<System> =
        System::all().filter(|system| matches!(system.deployment(), Deployment::Own)).collect();
    let mut kinds = BTreeMap::new();
    for seed in 0..1_000 {
        let system = systems[seed as usize % systems.len()];
        let cell = cell(system, seed);
        RECORD.with_borrow_mut(|record| *record = Record::default());
        simulate(&cell, false).expect("it can be simulated");
        let record = RECORD.take();
        if record.end.is_none() {
            // Something was found before, and there is nothing more to be seen.
            continue;
        }
        for done in &record.done {
            let words = format!("{:?}", done.action);
            let kind = words.split(['(', ' ']).next().unwrap_or_default().to_owned();
            *kinds.entry(kind).or_insert(0_u64) += 1;
        }
        let expected = record.events.len();
        let said: Vec<_> =
            record.events.iter().map(|event| (event.id, event.stage, event.targets.clone())).collect();
        let (differs, left, events) = replay(&cell, record);
        let at = || format!("{} with seed {seed}", system.name());
        assert_eq!(differs, None, "{}", at());
        assert_eq!(left, 0, "{}: actions that the runner did not want", at());
        let events: Vec<_> =
            events.into_iter().take(expected).map(|event| (event.id, event.stage, event.targets)).collect();
        assert_eq!(events, said, "{}", at());
    }
    let done: u64 = kinds.values().sum();
    assert!(done > 50_000, "{done} actions were compared: {kinds:?}");
    for kind in [
        "Look",
        "Read",
        "Kill",
        "LosePower",
        "Start",
        "Pause",
        "Resume",
        "Links",
        "Clock",
        "Disk",
        "FlipBit",
        "StartDamaged",
        "Wipe",
        "Ask",
    ] {
        assert!(kinds.contains_key(kind), "no {kind} among {kinds:?}");
    }
}
