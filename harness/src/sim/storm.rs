//! The nemesis of a simulated run: the same machine as on processes, whose actions are carried out on a simulated cluster.

use super::alarm::Alarm;
#[cfg(test)]
use super::executors;
use checkers::history::{Entry, FaultEvent, FaultStage};
use kv::Serves;
use nemesis::action::DiskCounters;
use nemesis::operator::{Operator, in_words};
use nemesis::{
    Action, Comeback, Dark, DiskCondition, Evidence, Exit, ExitKind, Group, InjectError, Injection,
    LinkMeans, Nemesis, Reading, World,
};
use protocol::control::{ClockSetting, OneWayCondition};
use protocol::{NodeId, Time};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use sim::{Cluster, Crash, Folder, Observer, Stop};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How often a kind of fault was put in force, and how often it bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bites {
    pub(crate) installed: u64,
    pub(crate) bit: u64,
    pub(crate) skipped: u64,
}

/// The faults of a run.
pub(crate) struct Storm {
    nemesis: Nemesis,
    hands: Hands,
    /// When the nemesis is woken next, if that is set.
    alarm: Option<Time>,
}

/// What carries actions out, and what it has to remember for that.
struct Hands {
    began: Time,
    seed: u64,
    /// Whatever starts now starts without another crash.
    is_calm: bool,
    /// They are to die in the middle of their next work.
    doomed: BTreeSet<NodeId>,
    links: BTreeMap<(NodeId, NodeId), OneWayCondition>,
    /// The kinds of messages that ever were conditioned.
    kinds: BTreeSet<String>,
    clocks: BTreeMap<NodeId, ClockSetting>,
    disks: BTreeMap<NodeId, DiskCondition>,
    bites: BTreeMap<String, Bites>,
}

/// What is drawn when it comes, each by itself: a fault more or less changes nothing about the others.
#[derive(Clone, Copy, Debug)]
enum Draw {
    /// How power goes.
    Power,
    /// How a replica starts.
    Start,
    /// Which quorum is healed.
    Quorum,
}

/// A node that was to die in the middle of its work, and had none, is killed after this.
const DOOM: Duration = Duration::from_millis(100);
/// A node that died while it recovered is started again after this.
const RESTART: Duration = Duration::from_millis(10);

/// A cluster in virtual time, with what takes down what happens to it.
struct VirtualWorld<'a, P: Serves, O> {
    hands: &'a mut Hands,
    entries: &'a mut Vec<Entry>,
    cluster: &'a mut Cluster<P>,
    observer: &'a mut O,
}

/// In virtual time nothing has to be waited for.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("an action in virtual time is carried out at once"),
    }
}

fn unsupported<T>(why: impl Into<String>) -> Result<T, InjectError> {
    Err(InjectError::Unsupported(why.into()))
}

fn words(words: impl Into<String>) -> Result<Evidence, InjectError> {
    Ok(Evidence::Words(words.into()))
}

impl Hands {
    /// Chance for one draw, now, for this node.
    fn chance(&self, draw: Draw, now: Time, node: u32) -> Xoshiro256PlusPlus {
        let about = (draw as u64) << 32 | u64::from(node);
        let number = (self.seed ^ now.0.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Xoshiro256PlusPlus::seed_from_u64(number ^ about)
    }

    /// Starts a node that is down; now and then its power goes again while it recovers.
    fn start<P: Serves>(&mut self, node: NodeId, cluster: &mut Cluster<P>, observer: &mut impl Observer<P>) {
        self.doomed.remove(&node);
        let mut chance = self.chance(Draw::Start, cluster.now(), node.0);
        if !self.is_calm && chance.random_bool(0.1) {
            cluster.crash_soon(node, chance.random_range(0..8), true);
        }
        cluster.start(node, observer);
    }
}

impl<P: Serves, O: Observer<P>> VirtualWorld<'_, P, O> {
    fn must_be_up(&self, node: NodeId) -> Result<(), InjectError> {
        if self.cluster.is_up(node) { Ok(()) } else { unsupported(format!("{node} is down")) }
    }

    /// The power of all of these goes: at this instant, or of each in the middle of its next work.
    fn lose_power(&mut self, nodes: &[NodeId]) -> Vec<Result<Dark, InjectError>> {
        let together = self.hands.chance(Draw::Power, self.cluster.now(), 0).random_bool(0.5);
        nodes.iter().map(|node| self.lose_power_of(*node, together)).collect()
    }

    fn lose_power_of(&mut self, node: NodeId, together: bool) -> Result<Dark, InjectError> {
        self.must_be_up(node)?;
        if together {
            self.cluster.crash(node, Crash::Power, self.observer);
        } else {
            let mut chance = self.hands.chance(Draw::Power, self.cluster.now(), node.0);
            self.hands.doomed.insert(node);
            self.cluster.crash_soon(node, chance.random_range(0..15), chance.random_bool(0.5));
            let at = self.cluster.now() + DOOM;
            self.cluster.alarm(at, Alarm::Doom { node }.number());
        }
        Ok(Dark { evidence: "gone, or as good as".to_owned(), lost_nothing: false })
    }

    fn start(&mut self, node: NodeId) -> Result<Evidence, InjectError> {
        if self.hands.doomed.contains(&node) {
            self.cluster.crash(node, Crash::Power, self.observer);
        }
        if self.cluster.is_up(node) {
            return unsupported("it runs");
        }
        self.hands.start(node, self.cluster, self.observer);
        words("started")
    }

    fn read(&mut self, node: NodeId) -> Evidence {
        let peers: Vec<NodeId> = self.cluster.nodes().filter(|peer| *peer != node).collect();
        let counters = self.cluster.disk_counters(node);
        let kinds = |peer: &NodeId| {
            let counters = |kind: &String| (kind.clone(), self.cluster.kind_counters(node, *peer, kind));
            (*peer, self.hands.kinds.iter().map(counters).collect())
        };
        let outbound_kinds = peers.iter().filter(|_| !self.hands.kinds.is_empty()).map(kinds).collect();
        Evidence::Read(Box::new(Reading {
            node,
            process: 0,
            outbound: peers.into_iter().map(|peer| (peer, self.cluster.link_counters(node, peer))).collect(),
            inbound: BTreeMap::new(),
            outbound_kinds,
            inbound_kinds: BTreeMap::new(),
            clock_error_us: self.cluster.clock_error_us(node).unwrap_or(0),
            disk: DiskCounters {
                syncs: counters.syncs,
                held_up: counters.held_up,
                refused: counters.refused_full,
            },
        }))
    }

    fn set_disk(&mut self, node: NodeId, condition: DiskCondition) {
        let before = self.hands.disks.insert(node, condition).unwrap_or_default();
        if before.stalled != condition.stalled {
            self.cluster.stall_disk(node, condition.stalled);
        }
        if before.times_slower != condition.times_slower {
            self.cluster.slow_disk(node, condition.times_slower);
        }
        if before.full != condition.full {
            self.cluster.fill_disk(node, condition.full);
        }
    }

    fn flip(&mut self, node: NodeId, chance: u64) -> Result<Evidence, InjectError> {
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(chance);
        let folder = if chance.random_bool(0.7) { Folder::Journal } else { Folder::Snapshots };
        let Some((file, at)) = self.cluster.flip_bit(node, folder) else {
            return unsupported(format!("nothing to damage on {node}"));
        };
        self.cluster.crash(node, Crash::Process, self.observer);
        words(format!("a bit of {file} at byte {at}"))
    }

    fn act(&mut self, action: &Action) -> Result<Evidence, InjectError> {
        match action {
            Action::Look => {
                let cluster = &self.cluster;
                let said = cluster.nodes().filter_map(|node| Some((node, cluster.status(node)?)));
                Ok(Evidence::Seen(said.collect()))
            }
            Action::Read(node) => Ok(self.read(*node)),
            Action::Kill(node) => {
                self.must_be_up(*node)?;
                self.cluster.crash(*node, Crash::Process, self.observer);
                words("gone")
            }
            Action::LosePower(nodes) => Ok(Evidence::Dark(self.lose_power(nodes))),
            Action::Start(node) => self.start(*node),
            Action::Pause(node) => {
                self.must_be_up(*node)?;
                self.cluster.pause(*node, true);
                words("paused")
            }
            Action::Resume(node) => {
                self.cluster.pause(*node, false);
                words("went on")
            }
            Action::Press(..) | Action::Release(..) => {
                unsupported("only on processes: virtual time has no processors")
            }
            Action::Links(node, links) => {
                self.hands.links.retain(|(from, _), _| from != node);
                let outbound = links.iter().map(|(peer, both)| ((*node, *peer), both.outbound.clone()));
                self.hands.links.extend(outbound);
                let kinds = links.values().flat_map(|both| both.outbound.kinds.keys());
                self.hands.kinds.extend(kinds.cloned());
                self.cluster.set_links(&self.hands.links);
                Ok(self.read(*node))
            }
            Action::Clock(node, clock) => {
                if self.hands.clocks.insert(*node, *clock) != Some(*clock) {
                    self.cluster.set_clock(*node, *clock);
                }
                Ok(self.read(*node))
            }
            Action::Disk(node, condition) => {
                self.set_disk(*node, *condition);
                words("in force")
            }
            Action::FlipBit(node, chance) => self.flip(*node, *chance),
            Action::StartDamaged(node) => {
                self.start(*node)?;
                Ok(Evidence::Comeback(Comeback::Whole("started".to_owned())))
            }
            Action::Wipe(node) => {
                self.cluster.crash(*node, Crash::Power, self.observer);
                let life = self.cluster.wipe(*node);
                self.hands.start(*node, self.cluster, self.observer);
                words(format!("a new disk, as {node}{life}"))
            }
            Action::Truncate(..) | Action::ComeBack(_) | Action::CopyDisk(_) | Action::RollBack(_) => {
                unsupported(
                    "only on processes: a replica that forgets what it has synced may break any invariant",
                )
            }
            Action::Ask(node, request) => match self.cluster.admin(*node, request.clone(), self.observer) {
                Some(reply) => Ok(Evidence::Answer(reply)),
                None => Err(InjectError::Failed(format!("{node} does not answer"))),
            },
        }
    }
}

impl<P: Serves, O: Observer<P>> World for VirtualWorld<'_, P, O> {
    fn now(&self) -> Duration {
        self.cluster.now().since(self.hands.began)
    }

    async fn carry_out(&mut self, action: &Action) -> Result<Evidence, InjectError> {
        let result = self.act(action);
        #[cfg(test)]
        executors::record(|record| {
            let (at, action, result) = (World::now(self), action.clone(), result.clone());
            record.done.push(executors::Done { at, action, result });
        });
        result
    }

    fn record(&mut self, event: FaultEvent) {
        #[cfg(test)]
        executors::record(|record| record.events.push(event.clone()));
        let bites = self.hands.bites.entry(event.fault.clone()).or_default();
        match event.stage {
            FaultStage::Installed => bites.installed += 1,
            FaultStage::Healed => bites.bit += 1,
            FaultStage::Skipped => bites.skipped += 1,
            FaultStage::NeverBit | FaultStage::Indeterminate => {}
        }
        self.cluster.note(|| {
            let FaultEvent { id, fault, targets, stage, detail, .. } = &event;
            format!("fault {id}: {fault} on {targets}: {stage:?}, {detail}")
        });
        self.entries.push(Entry::Fault { time: self.cluster.now().0, event });
    }

    fn link_means(&self, _condition: &OneWayCondition) -> LinkMeans {
        LinkMeans { by: "in the simulated network", unit: "messages" }
    }

    fn clock_means(&self) -> &'static str {
        "the nodes' own clocks"
    }
}

impl Storm {
    /// A schedule that begins now.
    pub(crate) fn begin<P: Serves>(
        group: Group,
        schedule: Vec<Injection>,
        seed: u64,
        cluster: &mut Cluster<P>,
    ) -> Self {
        let hands = Hands {
            began: cluster.now(),
            seed,
            is_calm: false,
            doomed: BTreeSet::new(),
            links: BTreeMap::new(),
            kinds: BTreeSet::new(),
            clocks: BTreeMap::new(),
            disks: BTreeMap::new(),
            bites: BTreeMap::new(),
        };
        #[cfg(test)]
        executors::record(|record| {
            *record = executors::Record { group: Some(group.clone()), ..executors::Record::default() };
        });
        let mut storm = Self { nemesis: Nemesis::new(group, schedule, seed), hands, alarm: None };
        storm.set_alarm(cluster);
        storm
    }

    /// How often each kind of fault was put in force and bit.
    pub(crate) fn bites(self) -> BTreeMap<String, Bites> {
        self.hands.bites
    }

    /// Who votes, and who is to.
    pub(crate) fn operator(&self) -> &Operator {
        self.nemesis.operator()
    }

    /// What is still to come of members, in words; `None`: nothing.
    pub(crate) fn unsettled(&self) -> Option<String> {
        let wish = || self.operator().wish().map_or("others".to_owned(), in_words);
        (!self.nemesis.is_settled()).then(wish)
    }

    /// Those who vote and whose disks are whole.
    pub(crate) fn sound_voters(&self) -> Vec<NodeId> {
        self.nemesis.sound_voters()
    }

    fn set_alarm<P: Serves>(&mut self, cluster: &mut Cluster<P>) {
        let Some(due) = self.nemesis.next_due() else { return };
        let due = (self.hands.began + due).max(cluster.now());
        if self.alarm.is_none_or(|at| due < at) {
            self.alarm = Some(due);
            cluster.alarm(due, Alarm::Nemesis.number());
        }
    }

    /// The nemesis does what is due.
    pub(crate) fn step<P: Serves>(
        &mut self,
        entries: &mut Vec<Entry>,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) {
        self.alarm = None;
        let mut world = VirtualWorld { hands: &mut self.hands, entries, cluster, observer };
        at_once(self.nemesis.step(&mut world));
        self.set_alarm(cluster);
    }

    /// A doomed node that lives still is killed.
    pub(crate) fn doom_is_over<P: Serves>(
        &mut self,
        node: NodeId,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) {
        if self.hands.doomed.remove(&node) {
            cluster.crash(node, Crash::Power, observer);
        }
    }

    /// Starts a node that is down, unless a fault keeps it so.
    pub(crate) fn start<P: Serves>(
        &mut self,
        node: NodeId,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) {
        let is_kept = self.nemesis.is_held_down(node) || self.nemesis.has_lost_disk(node);
        if !cluster.is_up(node) && !is_kept {
            self.hands.start(node, cluster, observer);
        }
    }

    /// A node has stopped; tells what is wrong with that, if anything is.
    pub(crate) fn stopped<P: Serves>(
        &mut self,
        node: NodeId,
        why: &Stop,
        cluster: &mut Cluster<P>,
    ) -> Option<String> {
        let (how, words) = match why {
            Stop::Doomed => {
                if !self.nemesis.is_held_down(node) {
                    let at = cluster.now() + RESTART;
                    cluster.alarm(at, Alarm::Restart { node }.number());
                }
                return None;
            }
            Stop::Disk(words) => (ExitKind::DiskFull, words),
            Stop::Refused(words) => (ExitKind::Refused, words),
            Stop::Panicked(words) => (ExitKind::Panic, words),
        };
        #[cfg(test)]
        executors::record(|record| {
            record.exits.push((record.done.len(), node, Exit { how, words: words.clone() }));
        });
        let is_expected = self.nemesis.ended(node, Exit { how, words: words.clone() });
        self.set_alarm(cluster);
        (!is_expected).then(|| format!("{node}: {why}"))
    }

    /// As many of those that can be saved as serve, drawn by the seed: from now on nothing is wrong within them, and outside of them
    /// all stays as it is.
    pub(crate) fn heal_quorum<P: Serves>(
        &mut self,
        entries: &mut Vec<Entry>,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) -> Vec<NodeId> {
        #[cfg(test)]
        executors::record(|record| record.end = Some(cluster.now().since(self.hands.began)));
        self.hands.is_calm = true;
        let mut saved = self.sound_voters();
        // While members change, quorums of two sets are needed, and some may know only the one: then all are healed.
        if self.members_are_certain(cluster) {
            let mut chance = self.hands.chance(Draw::Quorum, Time::ZERO, 0);
            let serves = self.nemesis.group().quorums.budget(self.operator().voters().len()).serves;
            while saved.len() > serves {
                let one = chance.random_range(0..saved.len());
                saved.remove(one);
            }
        } else {
            saved = self.nemesis.group().nodes.clone();
        }
        let mut world = VirtualWorld { hands: &mut self.hands, entries, cluster, observer };
        at_once(self.nemesis.heal_within(&saved, &mut world));
        for node in &saved {
            self.start(*node, cluster, observer);
        }
        self.set_alarm(cluster);
        saved
    }

    /// Whether the operator knows who votes: nothing is to change, and all who can be asked say the same.
    fn members_are_certain<P: Serves>(&self, cluster: &Cluster<P>) -> bool {
        let operator = self.operator();
        let mut statuses = operator.voters().keys().filter_map(|node| cluster.status(*node));
        operator.wish().is_none() && statuses.all(|status| operator.is_believed_by(&status))
    }

    /// Ends everything.
    pub(crate) fn heal<P: Serves>(
        &mut self,
        entries: &mut Vec<Entry>,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) {
        self.hands.is_calm = true;
        let mut world = VirtualWorld { hands: &mut self.hands, entries, cluster, observer };
        at_once(self.nemesis.heal(&mut world));
        self.set_alarm(cluster);
    }
}
