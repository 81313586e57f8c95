//! Carries a schedule out: installs each fault when its time comes, renews its lease, heals it, says what showed that it
//! bit; at the end heals everything and looks whether it is healed.

use crate::evidence::{CounterLog, bites};
use crate::exit::{Exit, ExitKind};
use crate::fault::Fault;
use crate::install::Refused;
use crate::links::{self, LinkFault};
use crate::members::LOOK;
use crate::operator::Operator;
use crate::schedule::Injection;
use crate::world::{InjectError, Pressure, World};
use checkers::history::{FaultEvent, FaultStage};
use protocol::NodeId;
use protocol::control::{ClockSetting, ControlRequest, LinkCounters, NodeStatus};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A node heals itself this long after its controller was last heard.
pub const LEASE: Duration = Duration::from_secs(8);
/// How often leases are renewed and counters read.
const TICK: Duration = Duration::from_millis(500);
/// How long the final heal may take, apart from clocks that have to be caught up with.
pub(crate) const HEAL_DEADLINE: Duration = Duration::from_secs(20);
/// A healed clock is within this of the machine's, microseconds.
const CLOCK_ERROR_US_MAX: u64 = 5_000;

/// Whether everything was as it should be at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealReport {
    /// What could not be healed, or not be seen to be healed. Empty: all is well.
    pub problems: Vec<String>,
    /// Processes that ended by themselves, with what they left to say.
    pub crashes: Vec<(NodeId, Exit)>,
}

/// A fault in force.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) name: String,
    pub(crate) fault: Fault,
    pub(crate) targets: String,
    pub(crate) end: Instant,
    pub(crate) hold: Hold,
}

/// What a fault holds on to.
#[derive(Debug)]
pub(crate) enum Hold {
    Down {
        nodes: Vec<NodeId>,
        /// They lost their power, and nothing with it.
        lost_nothing: bool,
    },
    Paused(Vec<NodeId>),
    Links {
        fault: LinkFault,
        before: LinkCounters,
    },
    Clock {
        nodes: Vec<NodeId>,
        setting: ClockSetting,
        strobe: Option<Strobe>,
        error_us_most: u64,
    },
    /// Other programs use these nodes' hosts.
    Pressed(Pressure, Vec<NodeId>),
    /// Down, and the end of their disks is cut off.
    Truncated(Vec<NodeId>),
    /// There are copies of their disks as they were.
    Copied(Vec<NodeId>),
    /// Their disks hold no more; those who could not go on without have stopped, with these words.
    Full {
        nodes: Vec<NodeId>,
        stopped: BTreeMap<NodeId, Exit>,
    },
    /// The operator was asked for other voters.
    Members,
    /// The operator was asked for another leader.
    Transfer,
}

#[derive(Debug)]
pub(crate) struct Strobe {
    pub(crate) period: Duration,
    pub(crate) next: Instant,
    pub(crate) ahead: bool,
}

/// Owns the world while faults come and go.
pub struct Runner<W: World, R: FnMut(FaultEvent)> {
    pub(crate) world: W,
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) operator: Operator,
    waiting: VecDeque<(u32, Injection)>,
    pub(crate) active: BTreeMap<u32, Active>,
    pub(crate) counters: CounterLog,
    /// Nodes that were told of a link or clock fault and have to be told when it is over.
    told: BTreeSet<NodeId>,
    pub(crate) clock_offset_us_most: u64,
    pub(crate) crashes: Vec<(NodeId, Exit)>,
    pub(crate) problems: Vec<String>,
    /// Those that carry on although their disks have lost what was synced.
    pub(crate) forgetful: BTreeSet<NodeId>,
    record: R,
}

impl<W: World, R: FnMut(FaultEvent)> Runner<W, R> {
    /// `record` is told of everything that happens, in order.
    pub fn new(world: W, schedule: Vec<Injection>, record: R) -> Self {
        let waiting = (1..).zip(schedule).collect();
        Self {
            nodes: world.nodes(),
            operator: Operator::new(world.founders(), world.placement()),
            world,
            waiting,
            active: BTreeMap::new(),
            counters: CounterLog::default(),
            told: BTreeSet::new(),
            clock_offset_us_most: 0,
            crashes: Vec::new(),
            problems: Vec::new(),
            forgetful: BTreeSet::new(),
            record,
        }
    }

    /// Runs until `stop` turns true (or its sender is gone), then heals everything. Gives the world back.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> (W, HealReport) {
        let begin = Instant::now();
        let (mut tick, mut look) = (begin + TICK, begin);
        while !*stop.borrow() {
            let mut next = self.next_event(begin).min(tick);
            if self.operator.is_busy() {
                next = next.min(look);
            }
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                gone = stop.changed() => if gone.is_err() { break },
            }
            let now = Instant::now();
            if *stop.borrow() {
                break;
            }
            self.end_what_is_over(now).await;
            self.begin_what_is_due(begin, now).await;
            if self.strobe(now) {
                self.apply().await;
            }
            if now >= look {
                self.operate().await;
                look = Instant::now() + LOOK;
            }
            if now >= tick {
                self.tick().await;
                tick = Instant::now() + TICK;
            }
        }
        self.heal().await;
        (self.world, HealReport { problems: self.problems, crashes: self.crashes })
    }

    fn next_event(&self, begin: Instant) -> Instant {
        let due = self.waiting.front().map(|(_, injection)| begin + injection.at);
        let ends = self.active.values().map(|active| active.end);
        let strobes = self.active.values().filter_map(|active| match &active.hold {
            Hold::Clock { strobe: Some(strobe), .. } => Some(strobe.next),
            _ => None,
        });
        due.into_iter()
            .chain(ends)
            .chain(strobes)
            .min()
            .unwrap_or(begin + Duration::from_secs(u64::from(u32::MAX)))
    }

    async fn end_what_is_over(&mut self, now: Instant) {
        let over: Vec<u32> = self.active.iter().filter(|(_, a)| a.end <= now).map(|(id, _)| *id).collect();
        for id in over {
            self.end(id).await;
        }
    }

    async fn begin_what_is_due(&mut self, begin: Instant, now: Instant) {
        while self.waiting.front().is_some_and(|(_, injection)| begin + injection.at <= now) {
            let (id, injection) = self.waiting.pop_front().expect("looked at in the line above");
            self.begin(id, injection).await;
        }
    }

    fn say(&mut self, id: u32, fault: &str, targets: &str, stage: FaultStage, detail: impl Into<String>) {
        (self.record)(FaultEvent {
            id,
            fault: fault.into(),
            line: None,
            targets: targets.into(),
            stage,
            detail: detail.into(),
        });
    }

    async fn begin(&mut self, id: u32, injection: Injection) {
        self.look_at_full_disks().await;
        let (name, fault) = (injection.name.clone(), injection.fault.clone());
        match self.install(&injection).await {
            Ok((hold, targets, evidence)) => {
                self.say(id, &name, &targets, FaultStage::Installed, evidence);
                let end = Instant::now() + injection.lasts;
                self.active.insert(id, Active { name, fault, targets, end, hold });
            }
            Err(Refused { targets, error: InjectError::Unsupported(why) }) => {
                self.say(id, &name, &targets, FaultStage::Skipped, why);
            }
            Err(Refused { targets, error: InjectError::Failed(why) }) => {
                self.say(id, &name, &targets, FaultStage::Indeterminate, why);
            }
        }
    }

    /// The clock that a node must have now: offsets add, rates multiply.
    fn clock_of(&self, node: NodeId) -> ClockSetting {
        let mut sum = ClockSetting::default();
        for active in self.active.values() {
            if let Hold::Clock { nodes, setting, strobe, .. } = &active.hold
                && nodes.contains(&node)
                && strobe.as_ref().is_none_or(|s| s.ahead)
            {
                sum.offset_us += setting.offset_us;
                sum.rate *= setting.rate;
            }
        }
        sum
    }

    /// Tells every reachable node what is in force on its links and clock, which also renews the leases.
    pub(crate) async fn apply(&mut self) -> Vec<InjectError> {
        let link_faults = self.active.values().filter_map(|active| match &active.hold {
            Hold::Links { fault, .. } => Some(fault),
            _ => None,
        });
        let mut links = links::combine(link_faults);
        let lease_ms = u64::try_from(LEASE.as_millis()).expect("a few seconds");
        let mut errors = Vec::new();
        for node in self.nodes.clone() {
            let links = links.remove(&node).unwrap_or_default();
            let clock = self.clock_of(node);
            let clear = links.is_empty() && clock == ClockSetting::default();
            if self.occupied(node).is_some() || (clear && !self.told.contains(&node)) {
                continue;
            }
            let set_links = self.world.control(node, ControlRequest::SetLinks { links, lease_ms }).await;
            let set_clock = match set_links {
                Ok(_) => self.world.control(node, ControlRequest::SetClock { clock, lease_ms }).await,
                Err(error) => Err(error),
            };
            match set_clock {
                Ok(status) => {
                    self.observe(&status);
                    if clear {
                        self.told.remove(&node)
                    } else {
                        self.told.insert(node)
                    };
                }
                Err(error) => errors.push(error),
            }
        }
        errors
    }

    fn observe(&mut self, status: &NodeStatus) {
        self.counters.observe(status);
        for active in self.active.values_mut() {
            if let Hold::Clock { nodes, error_us_most, .. } = &mut active.hold
                && nodes.contains(&status.node)
            {
                *error_us_most = (*error_us_most).max(status.clock_error_us.unsigned_abs());
            }
        }
    }

    /// Turns the clocks whose time has come; whether there were any.
    fn strobe(&mut self, now: Instant) -> bool {
        let mut turned = false;
        for active in self.active.values_mut() {
            if let Hold::Clock { strobe: Some(strobe), .. } = &mut active.hold
                && strobe.next <= now
            {
                strobe.ahead = !strobe.ahead;
                strobe.next = now + strobe.period;
                turned = true;
            }
        }
        turned
    }

    async fn tick(&mut self) {
        if !self.told.is_empty() {
            // A node that cannot be told now (it crashed, it is starting) is told at the next tick.
            for error in self.apply().await {
                tracing::debug!(%error, "renewing");
            }
        }
        self.keep_disks_full().await;
        self.look_for_exits().await;
    }

    /// Takes note of processes that ended by themselves. One that stops because its disk is full has done what it must.
    pub(crate) async fn look_for_exits(&mut self) {
        for (node, exit) in self.world.unexpected_exits().await {
            if exit.how == ExitKind::DiskFull
                && let Some(stopped) = self.stopped_at_full_disk(node)
            {
                tracing::info!(%node, %exit, "a node stopped at its full disk");
                stopped.insert(node, exit);
                continue;
            }
            tracing::warn!(%node, %exit, "a node ended by itself");
            self.crashes.push((node, exit));
        }
    }

    async fn end(&mut self, id: u32) {
        self.look_at_full_disks().await;
        let Some(Active { name, fault, targets, hold, .. }) = self.active.remove(&id) else { return };
        let (stage, detail) = match hold {
            Hold::Down { nodes, lost_nothing } => match self.restart(nodes).await {
                (FaultStage::Healed, words) if lost_nothing => {
                    (FaultStage::NeverBit, format!("nothing was unsynced when the power went; {words}"))
                }
                restarted => restarted,
            },
            Hold::Paused(nodes) => self.resume(nodes).await,
            Hold::Links { fault: link, before } => {
                let errors = self.apply().await;
                let after = self.counters.sum(&link);
                let (count, what) = bites(&link.condition, &before, &after);
                let unit = self.world.link_means(&link.one_way()).unit;
                match (count, errors.is_empty()) {
                    (_, false) => (FaultStage::Indeterminate, list(&errors)),
                    (0, true) => (FaultStage::NeverBit, format!("0 {unit} {what}")),
                    (_, true) => (FaultStage::Healed, format!("{count} {unit} {what}")),
                }
            }
            Hold::Clock { error_us_most, .. } => {
                let errors = self.apply().await;
                let seen = format!("clock was up to {:.1} ms off", error_us_most as f64 / 1e3);
                match (error_us_most > 1_000, errors.is_empty()) {
                    (_, false) => (FaultStage::Indeterminate, list(&errors)),
                    (false, true) => (FaultStage::NeverBit, seen),
                    (true, true) => (FaultStage::Healed, seen),
                }
            }
            Hold::Pressed(pressure, nodes) => self.release(pressure, nodes).await,
            Hold::Truncated(nodes) => {
                self.end_forgetting(nodes, async |world, node| world.come_back(node).await).await
            }
            Hold::Copied(nodes) => {
                self.end_forgetting(nodes, async |world, node| world.roll_back(node).await).await
            }
            Hold::Full { nodes, stopped } => self.end_full(nodes, stopped).await,
            Hold::Members => self.end_members(&fault).await,
            Hold::Transfer => self.end_transfer().await,
        };
        self.say(id, &name, &targets, stage, detail);
    }

    /// Starts those again that are down; one may not be, if it is not certain that it was struck.
    pub(crate) async fn restart(&mut self, nodes: Vec<NodeId>) -> (FaultStage, String) {
        let mut evidence = Vec::new();
        let mut stage = FaultStage::Healed;
        for node in nodes {
            match self.world.restart(node).await {
                Ok(words) | Err(InjectError::Unsupported(words)) => evidence.push(format!("{node}: {words}")),
                Err(error) => {
                    stage = FaultStage::Indeterminate;
                    evidence.push(format!("{node}: {error}"));
                    self.look_for_exits().await;
                    if self.crashes.iter().all(|(crashed, _)| *crashed != node) {
                        self.crashes.push((node, Exit { how: ExitKind::Silent, words: error.to_string() }));
                    }
                }
            }
        }
        // A fresh process knows nothing of the link faults that are still in force.
        let errors = self.apply().await;
        if !errors.is_empty() {
            evidence.push(list(&errors));
        }
        (stage, evidence.join("; "))
    }

    async fn resume(&mut self, nodes: Vec<NodeId>) -> (FaultStage, String) {
        let mut evidence = Vec::new();
        let mut stage = FaultStage::Healed;
        for node in nodes {
            match self.world.resume(node).await {
                Ok(words) => evidence.push(format!("{node}: {words}")),
                Err(error) => {
                    stage = FaultStage::Indeterminate;
                    evidence.push(format!("{node}: {error}"));
                }
            }
        }
        // While it stood still, its leases ran out.
        for error in self.apply().await {
            evidence.push(error.to_string());
        }
        (stage, evidence.join("; "))
    }

    async fn release(&mut self, pressure: Pressure, nodes: Vec<NodeId>) -> (FaultStage, String) {
        let mut evidence = Vec::new();
        let mut stage = FaultStage::Healed;
        for node in nodes {
            match self.world.release(node, pressure).await {
                Ok(Some(words)) => evidence.push(format!("{node}: {words}")),
                Ok(None) => {
                    stage = FaultStage::NeverBit;
                    evidence.push(format!("{node}: they had nothing to speak of"));
                }
                Err(error) => {
                    stage = FaultStage::Indeterminate;
                    evidence.push(format!("{node}: {error}"));
                }
            }
        }
        (stage, evidence.join("; "))
    }

    /// Ends all that is in force, then looks until nothing is, or it took too long.
    async fn heal(&mut self) {
        let ids: Vec<u32> = self.active.keys().copied().collect();
        for id in ids {
            self.end(id).await;
        }
        for (id, injection) in std::mem::take(&mut self.waiting) {
            let why = "the run ended before its time came";
            self.say(id, &injection.name, "–", FaultStage::Skipped, why);
        }
        self.look_for_exits().await;
        // Those that did not come back from what their disks have lost may be down, too.
        let crashed = self.crashes.iter().map(|(node, _)| *node);
        let down: BTreeSet<NodeId> = crashed.chain(self.forgetful.iter().copied()).collect();
        for node in down {
            match self.world.restart(node).await {
                Ok(_) | Err(InjectError::Unsupported(_)) => {}
                Err(error) => {
                    tracing::warn!(%node, %error, "starting a crashed node again for the final reads");
                }
            }
        }
        let catch_up = Duration::from_micros(2 * self.clock_offset_us_most);
        let deadline = Instant::now() + HEAL_DEADLINE + catch_up;
        for node in self.nodes.clone() {
            if let Some(problem) = self.heal_node(node, deadline).await {
                self.problems.push(format!("{node}: {problem}"));
            }
        }
        self.replace_forgetful().await;
        let problem = self.see_it_through(deadline.max(Instant::now() + HEAL_DEADLINE)).await;
        self.problems.extend(problem);
    }

    async fn heal_node(&mut self, node: NodeId, deadline: Instant) -> Option<String> {
        loop {
            let problem = match self.world.control(node, ControlRequest::Heal).await {
                // A foreign process has no links or clock of ours to heal.
                Err(InjectError::Unsupported(_)) => return None,
                Err(InjectError::Failed(why)) => why,
                Ok(status) if !status.links.is_empty() => {
                    format!("links still conditioned: {:?}", status.links)
                }
                Ok(status) if status.disk_full => "its disk is full still".to_owned(),
                Ok(status) if status.clock_error_us.unsigned_abs() > CLOCK_ERROR_US_MAX => {
                    format!("clock still {} us off", status.clock_error_us)
                }
                Ok(_) => return None,
            };
            if Instant::now() >= deadline {
                return Some(problem);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn list(errors: &[InjectError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
