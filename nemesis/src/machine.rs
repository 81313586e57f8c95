//! The one state machine of all worlds: when faults come, on whom, how they add up, when they go and what showed that they bit.
//!
//! It does no IO. What it wants done are [`Action`]s, and what it knows is the [`Evidence`](crate::Evidence) that a [`World`] answers
//! with. It is written as straight code that awaits the evidence of one action before it asks for the next, because what comes next
//! depends on it; in virtual time no future ever waits. It never sleeps: what has to wait is kept as state until
//! [`Nemesis::next_due`].

use crate::action::{Action, InjectError};
use crate::condition::Told;
use crate::evidence::Log;
use crate::exit::{Exit, ExitKind};
use crate::hold::Hold;
use crate::install::NotInForce;
use crate::operator::Operator;
use crate::schedule::Injection;
use crate::world::World;
use checkers::history::{FaultEvent, FaultStage};
use protocol::quorum::Quorums;
use protocol::{NodeId, Placement};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Between two looks of an operator who waits for something, or of a fault that looks for who leads.
pub const LOOK: Duration = Duration::from_millis(100);
/// How long a fault looks for its targets when nobody leads: a quarter of how long it lasts (else short faults in close order would
/// fall on every leader as soon as it is one), and no longer than this.
const SEEK_MAX: Duration = Duration::from_secs(3);
/// Between two looks at who coordinates most, while a fault is to come that is on whoever does.
const GLANCE: Duration = Duration::from_secs(2);

/// The nodes, and what they survive.
#[derive(Clone, Debug)]
pub struct Group {
    /// All of them, up or not.
    pub nodes: Vec<NodeId>,
    /// Those whose replicas are members from the beginning.
    pub founders: Vec<NodeId>,
    /// Which replica each stands for.
    pub placement: Placement,
    /// Which sets of replicas decide.
    pub quorums: Quorums,
    /// Whether members can be replaced.
    pub changes_members: bool,
}

/// A fault in force.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) injection: Injection,
    pub(crate) targets: String,
    pub(crate) end: Duration,
    pub(crate) hold: Hold,
}

/// One whose time has come, but nobody leads.
#[derive(Debug)]
struct Seeking {
    injection: Injection,
    since: Duration,
    next: Duration,
}

/// How far a run is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Faults come and go.
    Faults,
    /// None comes any more. Nothing is wrong with these nodes and between them; elsewhere faults stay until they are ended.
    Healing { saved: BTreeSet<NodeId> },
    /// All have ended.
    Healed,
}

/// Faults that come and go.
#[derive(Debug)]
pub struct Nemesis {
    pub(crate) group: Group,
    pub(crate) operator: Operator,
    pub(crate) seed: u64,
    waiting: VecDeque<(u32, Injection)>,
    seeking: BTreeMap<u32, Seeking>,
    pub(crate) active: BTreeMap<u32, Active>,
    pub(crate) log: Log,
    /// What showed that disks are as they were told to be, since this was last cleared.
    pub(crate) said: Vec<String>,
    /// What nodes were told that is not as it should be.
    pub(crate) told: BTreeMap<NodeId, Told>,
    pub(crate) stage: Stage,
    next_look: Duration,
    next_glance: Duration,
    /// How many commands each had coordinated when that was last taken down, and how many more than at the time before.
    pub(crate) coordinated: BTreeMap<NodeId, (u64, u64)>,
    pub(crate) coordinated_at: Option<Duration>,
    pub(crate) disks: crate::disks::Disks,
    pub(crate) crashes: Vec<(NodeId, Exit)>,
    pub(crate) problems: Vec<String>,
}

impl Nemesis {
    /// Faults of a schedule that begins when a world's time does. `seed`: for what is drawn when a fault comes.
    #[must_use]
    pub fn new(group: Group, schedule: Vec<Injection>, seed: u64) -> Self {
        Self {
            operator: Operator::new(group.founders.clone(), group.placement.clone()),
            group,
            seed,
            waiting: (1..).zip(schedule).collect(),
            seeking: BTreeMap::new(),
            active: BTreeMap::new(),
            log: Log::default(),
            said: Vec::new(),
            told: BTreeMap::new(),
            stage: Stage::Faults,
            next_look: Duration::ZERO,
            next_glance: Duration::ZERO,
            coordinated: BTreeMap::new(),
            coordinated_at: None,
            disks: crate::disks::Disks::default(),
            crashes: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// The nodes, and what they survive.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Whether a node refuses its disk, of which a bit was flipped, and has no other yet.
    #[must_use]
    pub fn has_lost_disk(&self, node: NodeId) -> bool {
        self.disks.is_lost(node)
    }

    /// Who votes, and who is to.
    #[must_use]
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// What could not be healed so far.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// When [`Nemesis::step`] has something to do next, if nothing happens before; `None`: never.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        let look = self.is_busy().then_some(self.next_look);
        if self.stage != Stage::Faults {
            return look;
        }
        let due = self.waiting.front().map(|(_, injection)| injection.at);
        let ends = self.active.values().map(|active| active.end);
        let strobes = self.active.values().filter_map(|active| Some(active.hold.strobe()?.next));
        let seeks = self.seeking.values().map(|seeking| seeking.next);
        let glance = self.awaits_the_busiest().then_some(self.next_glance);
        due.into_iter().chain(ends).chain(strobes).chain(seeks).chain(look).chain(glance).min()
    }

    /// Whether the operator waits for something, or a disk for another member.
    fn is_busy(&self) -> bool {
        self.operator.is_busy() || (self.disks.are_to_be_replaced() && self.may_replace())
    }

    /// Between the healing of some and of all, members stay as they are.
    pub(crate) fn may_replace(&self) -> bool {
        matches!(self.stage, Stage::Faults | Stage::Healed)
    }

    /// Whether all that an operator was asked for is done.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.operator.wish().is_none() && !self.disks.are_to_be_replaced()
    }

    fn awaits_the_busiest(&self) -> bool {
        let seeking = self.seeking.values().map(|seeking| &seeking.injection);
        self.waiting.iter().map(|(_, injection)| injection).chain(seeking).any(Injection::wants_busiest)
    }

    /// Ends what is over, begins what is due, and has the operator look.
    pub async fn step(&mut self, world: &mut impl World) {
        let now = world.now();
        if self.stage == Stage::Faults {
            let over: Vec<u32> =
                self.active.iter().filter(|(_, a)| a.end <= now).map(|(id, _)| *id).collect();
            for id in over {
                self.end(id, world).await;
            }
            if self.awaits_the_busiest() && self.next_glance <= now {
                self.look(world).await;
                self.next_glance = now + GLANCE;
            }
            while self.waiting.front().is_some_and(|(_, injection)| injection.at <= now) {
                let (id, injection) = self.waiting.pop_front().expect("looked at in the line above");
                self.begin(id, Seeking { injection, since: now, next: now }, world).await;
            }
            let due: Vec<u32> =
                self.seeking.iter().filter(|(_, s)| s.next <= now).map(|(id, _)| *id).collect();
            for id in due {
                let seeking = self.seeking.remove(&id).expect("found in the line above");
                self.begin(id, seeking, world).await;
            }
            if self.turn_strobes(world).await {
                self.apply(world).await;
            }
        }
        if self.is_busy() && self.next_look <= world.now() {
            self.replace_next(world).await;
            self.operate(world).await;
            self.next_look = world.now() + LOOK;
        }
    }

    pub(crate) fn say(
        world: &mut impl World,
        id: u32,
        injection: &Injection,
        targets: &str,
        (stage, detail): (FaultStage, impl Into<String>),
    ) {
        let (fault, line) = (injection.name.clone(), injection.line);
        world.record(FaultEvent { id, fault, line, targets: targets.into(), stage, detail: detail.into() });
    }

    async fn begin(&mut self, id: u32, seeking: Seeking, world: &mut impl World) {
        let Seeking { injection, since, .. } = seeking;
        match self.install(&injection, world).await {
            Ok((hold, targets, evidence)) => {
                Self::say(world, id, &injection, &targets, (FaultStage::Installed, evidence));
                let end = world.now() + injection.lasts;
                self.active.insert(id, Active { injection, targets, end, hold });
            }
            Err(NotInForce::NobodyLeads) if world.now() < since + SEEK_MAX.min(injection.lasts / 4) => {
                let next = world.now() + LOOK;
                self.seeking.insert(id, Seeking { injection, since, next });
            }
            Err(NotInForce::NobodyLeads) => {
                Self::say(world, id, &injection, "–", (FaultStage::Skipped, "nobody leads"));
            }
            Err(NotInForce::Refused { targets, error: InjectError::Unsupported(why) }) => {
                Self::say(world, id, &injection, &targets, (FaultStage::Skipped, why));
            }
            Err(NotInForce::Refused { targets, error: InjectError::Failed(why) }) => {
                Self::say(world, id, &injection, &targets, (FaultStage::Indeterminate, why));
            }
        }
    }

    async fn end(&mut self, id: u32, world: &mut impl World) {
        let Some(Active { injection, targets, hold, .. }) = self.active.remove(&id) else { return };
        let ended = self.lift(&injection.fault, hold, world).await;
        Self::say(world, id, &injection, &targets, ended);
    }

    /// A process has ended that nobody ended; whether that was to be expected: it stopped because its disk is full, or refuses one of
    /// which a bit was flipped. Else it has crashed.
    pub fn ended(&mut self, node: NodeId, exit: Exit) -> bool {
        if exit.how == ExitKind::DiskFull
            && let Some(stopped) =
                self.active.values_mut().find_map(|active| active.hold.stopped_when_full(node))
        {
            stopped.insert(node, exit);
            return true;
        }
        if exit.how != ExitKind::Panic && self.disks.is_flipped(node) {
            self.refuses_disk(node, &exit.words);
            return true;
        }
        // What was noted when it did not start again says less.
        self.crashes.retain(|(crashed, noted)| *crashed != node || noted.how != ExitKind::Silent);
        self.crashes.push((node, exit));
        false
    }

    /// Processes that ended by themselves and should not have, with what they left to say.
    #[must_use]
    pub fn crashes(&self) -> &[(NodeId, Exit)] {
        &self.crashes
    }

    /// From now on nothing is wrong with these and between them, and outside of them all stays as it is.
    pub async fn heal_within(&mut self, saved: &[NodeId], world: &mut impl World) {
        self.stage = Stage::Healing { saved: saved.iter().copied().collect() };
        self.operator.leave_it();
        let (mut start, mut resume) = (Vec::new(), Vec::new());
        for active in self.active.values_mut() {
            active.hold.release_processes(saved, &mut start, &mut resume);
        }
        // A disk must have room before its node starts.
        self.apply(world).await;
        let resume = resume.into_iter().map(Action::Resume);
        for action in resume.chain(start.into_iter().map(Action::Start)) {
            if let Err(InjectError::Failed(why)) = world.carry_out(&action).await {
                self.problems.push(why);
            }
            action.node().into_iter().for_each(|node| self.has_forgotten(node));
        }
        self.apply(world).await;
    }

    /// Ends all that is in force, in the order in which it came, and starts every node that is down.
    pub async fn heal(&mut self, world: &mut impl World) {
        self.stage = Stage::Healing { saved: BTreeSet::new() };
        let ids: Vec<u32> = self.active.keys().copied().collect();
        for id in ids {
            self.end(id, world).await;
        }
        let seeking =
            std::mem::take(&mut self.seeking).into_iter().map(|(id, seeking)| (id, seeking.injection));
        for (id, injection) in seeking.chain(std::mem::take(&mut self.waiting)) {
            let why = "the run ended before its time came";
            Self::say(world, id, &injection, "–", (FaultStage::Skipped, why));
        }
        for node in self.group.nodes.clone() {
            // Whether it refuses its disk may be about to be told.
            if self.disks.is_damaged(node) {
                continue;
            }
            // One that runs says so; of one that does not start, that it is gone is known already.
            if let Err(InjectError::Failed(why)) = world.carry_out(&Action::Start(node)).await {
                tracing::warn!(%node, %why, "starting a node after all was healed");
            }
        }
        self.apply(world).await;
        self.stage = Stage::Healed;
        self.replace_the_forgetful();
        self.operator.confirm();
        self.next_look = world.now();
    }

    /// Whether a fault holds this node's process down.
    #[must_use]
    pub fn is_held_down(&self, node: NodeId) -> bool {
        self.active.values().any(|active| active.hold.keeps_down(node))
    }

    /// Those who vote and whose disks are whole, as far as they have been started since.
    #[must_use]
    pub fn sound_voters(&self) -> Vec<NodeId> {
        let flips =
            |node| self.active.values().any(|active| matches!(active.hold, Hold::Flipped(of) if of == node));
        let is_sound = |node: &NodeId| !self.disks.is_lost(*node) && !flips(*node);
        self.operator.voters().keys().copied().filter(is_sound).collect()
    }

    /// What is wrong with clocks at most in a schedule: so long one may stand still when it is healed.
    #[must_use]
    pub fn clock_error_most(schedule: &[Injection]) -> Duration {
        let of = |injection: &Injection| {
            let clock = injection.fault.clock_setting().unwrap_or_default();
            let offset = Duration::from_micros(clock.offset_us.unsigned_abs());
            offset + injection.lasts.mul_f64((clock.rate - 1.0).abs())
        };
        schedule.iter().map(of).sum()
    }
}
