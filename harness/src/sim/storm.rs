//! The faults of a simulated run: the same schedule that the runner carries out on processes.

use super::alarm::Alarm;
use super::members::leader;
use checkers::history::{Entry, FaultEvent, FaultStage};
use kv::Serves;
use nemesis::links::{self, LinkFault};
use nemesis::operator::{Operator, in_words};
use nemesis::target::{self, Direction};
use nemesis::{Fault, Injection, evidence};
use protocol::control::{ClockSetting, LinkCounters};
use protocol::{NodeId, Time, quorum};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use sim::{Cluster, Crash, DiskCounters, Folder, Observer, Stop};
use std::collections::{BTreeMap, BTreeSet};
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
    nodes: Vec<NodeId>,
    pub(crate) operator: Operator,
    schedule: Vec<Injection>,
    active: BTreeMap<u32, Active>,
    /// Nothing begins or ends by itself any more.
    frozen: bool,
    /// Those of whose disks a bit was flipped.
    pub(super) flipped: BTreeSet<NodeId>,
    /// Those that refuse their disks since then, and why: they are gone for good.
    pub(crate) lost: BTreeMap<NodeId, String>,
    pub(crate) bites: BTreeMap<String, Bites>,
    seed: u64,
}

/// What is drawn when it comes, each by itself: a fault more or less changes nothing about the others.
#[derive(Clone, Copy, Debug)]
pub(super) enum Draw {
    /// How power goes.
    Power,
    /// How a replica starts.
    Start,
    /// On the way to which members one joins or leaves.
    Step,
    /// Which quorum is healed.
    Quorum,
}

struct Active {
    fault: Fault,
    name: String,
    targets: String,
    hold: Hold,
}

pub(super) enum Hold {
    Down {
        nodes: Vec<NodeId>,
        evidence: String,
    },
    Paused(Vec<NodeId>),
    /// `all`: also those directions that were healed before.
    Links {
        fault: LinkFault,
        all: Vec<Direction>,
        before: LinkCounters,
    },
    Clock {
        nodes: Vec<NodeId>,
        setting: ClockSetting,
        error_us_most: u64,
    },
    /// `all`: also those that were healed before.
    Disk {
        nodes: Vec<NodeId>,
        all: Vec<NodeId>,
        before: DiskCounters,
    },
    /// The operator was asked for other voters.
    Members {
        evidence: String,
    },
    /// The operator was asked for another leader.
    Transfer,
}

/// After a doom that was not met, a replica is killed all the same.
const DOOM: Duration = Duration::from_millis(100);

impl Storm {
    /// Sets the alarms of a schedule that begins now.
    pub(crate) fn begin<P: Serves>(
        (nodes, founders): (Vec<NodeId>, u32),
        schedule: Vec<Injection>,
        seed: u64,
        cluster: &mut Cluster<P>,
    ) -> Self {
        for (fault, injection) in (0..).zip(&schedule) {
            let at = cluster.now() + injection.at;
            cluster.alarm(at, Alarm::Begin { fault }.number());
        }
        Self {
            operator: Operator::new((1..=founders).map(NodeId).collect(), cluster.placement().clone()),
            nodes,
            schedule,
            active: BTreeMap::new(),
            frozen: false,
            flipped: BTreeSet::new(),
            lost: BTreeMap::new(),
            bites: BTreeMap::new(),
            seed,
        }
    }

    /// Chance for one draw, now, for this node.
    pub(super) fn chance(&self, draw: Draw, now: Time, node: u32) -> Xoshiro256PlusPlus {
        let about = (draw as u64) << 32 | u64::from(node);
        let number = (self.seed ^ now.0.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Xoshiro256PlusPlus::seed_from_u64(number ^ about)
    }

    fn say<P: Serves>(
        &mut self,
        id: u32,
        (fault, targets): (&str, &str),
        (stage, detail): (FaultStage, String),
        entries: &mut Vec<Entry>,
        cluster: &mut Cluster<P>,
    ) {
        let bites = self.bites.entry(fault.to_owned()).or_default();
        match stage {
            FaultStage::Installed => bites.installed += 1,
            FaultStage::Healed => bites.bit += 1,
            FaultStage::Skipped => bites.skipped += 1,
            FaultStage::NeverBit | FaultStage::Indeterminate => {}
        }
        cluster.note(|| format!("fault {id}: {fault} on {targets}: {stage:?}, {detail}"));
        let (fault, targets) = (fault.to_owned(), targets.to_owned());
        entries.push(Entry::Fault {
            time: cluster.now().0,
            event: FaultEvent { id: id + 1, fault, line: None, targets, stage, detail },
        });
    }

    /// A fault of the schedule begins.
    pub(crate) fn begin_fault<P: Serves>(
        &mut self,
        id: u32,
        entries: &mut Vec<Entry>,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) {
        if self.frozen {
            return;
        }
        let injection = self.schedule[id as usize].clone();
        match self.install(id, &injection, cluster, observer) {
            Ok((hold, targets, evidence)) => {
                self.say(
                    id,
                    (&injection.name, &targets),
                    (FaultStage::Installed, evidence),
                    entries,
                    cluster,
                );
                let (fault, name) = (injection.fault.clone(), injection.name.clone());
                self.active.insert(id, Active { fault, name, targets, hold });
                self.apply_links(cluster);
                let end = cluster.now() + injection.lasts;
                cluster.alarm(end, Alarm::End { fault: id }.number());
            }
            Err(why) => {
                self.say(id, (&injection.name, "–"), (FaultStage::Skipped, why), entries, cluster);
            }
        }
    }

    fn install<P: Serves>(
        &mut self,
        id: u32,
        injection: &Injection,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) -> Result<(Hold, String, String), String> {
        if let Some(why) = &injection.impossible {
            return Err(why.clone());
        }
        let leader = leader(cluster).map(|(leader, _)| leader);
        if let Fault::Partition(shape) = &injection.fault {
            let (directions, text) = shape.cuts(&self.nodes, leader)?;
            return Ok((self.links(&injection.fault, directions, cluster), text, "links cut".to_owned()));
        }
        let targets = injection.targets.now(&self.nodes, leader)?;
        let text = target::names(&targets);
        let hold = match &injection.fault {
            Fault::Kill | Fault::PowerLoss | Fault::Pause | Fault::BitFlip => {
                self.install_on_processes(id, &injection.fault, &targets, cluster, observer)?
            }
            Fault::ClockOffset { .. } | Fault::ClockRate { .. } | Fault::ClockStrobe { .. } => {
                self.install_clock(id, &injection.fault, targets, cluster)
            }
            Fault::Wipe => self.wipe(targets[0], cluster, observer)?,
            Fault::Members => self.change_members(&targets, cluster)?,
            Fault::Transfer => self.transfer(targets[0], cluster, observer)?,
            Fault::DiskStall | Fault::DiskSlow { .. } | Fault::DiskFull => {
                install_disk(&injection.fault, targets, cluster)
            }
            Fault::CpuPressure { .. } | Fault::MemoryPressure { .. } => {
                return Err("only on processes: virtual time has no processors".to_owned());
            }
            Fault::Truncate { .. } | Fault::Rollback => {
                return Err(
                    "only on processes: a replica that forgets what it has synced may break any invariant"
                        .to_owned(),
                );
            }
            packet => {
                let directions = links::touching(&targets, &self.nodes);
                if directions.is_empty() {
                    return Err("there are no links".to_owned());
                }
                self.links(packet, directions, cluster)
            }
        };
        let evidence = match &hold {
            Hold::Down { evidence, .. } | Hold::Members { evidence } => evidence.clone(),
            _ => "in force".to_owned(),
        };
        Ok((hold, text, evidence))
    }

    pub(super) fn free<P: Serves>(
        &self,
        targets: &[NodeId],
        cluster: &Cluster<P>,
    ) -> Result<Vec<NodeId>, String> {
        let occupied = |node: &NodeId| {
            !cluster.is_up(*node)
                || self.active.values().any(|active| match &active.hold {
                    Hold::Down { nodes, .. } | Hold::Paused(nodes) => nodes.contains(node),
                    _ => false,
                })
        };
        let free: Vec<_> = targets.iter().copied().filter(|node| !occupied(node)).collect();
        if free.is_empty() {
            Err(format!("{} down or paused already", target::names(targets)))
        } else {
            Ok(free)
        }
    }

    fn install_on_processes<P: Serves>(
        &mut self,
        id: u32,
        fault: &Fault,
        targets: &[NodeId],
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) -> Result<Hold, String> {
        let nodes = self.free(targets, cluster)?;
        match fault {
            Fault::Pause => {
                nodes.iter().for_each(|node| cluster.pause(*node, true));
                return Ok(Hold::Paused(nodes));
            }
            Fault::BitFlip => return self.flip(nodes[0], self.schedule[id as usize].at, cluster, observer),
            _ => {}
        }
        for node in &nodes {
            if *fault == Fault::Kill {
                cluster.crash(*node, Crash::Process, observer);
                continue;
            }
            let mut chance = self.chance(Draw::Power, cluster.now(), node.0);
            match chance.random_range(0..3) {
                0 => cluster.crash(*node, Crash::Power, observer),
                1 => doom(id, *node, (chance.random_range(0..15), false), cluster),
                _ => doom(id, *node, (chance.random_range(0..15), true), cluster),
            }
        }
        Ok(Hold::Down { nodes, evidence: "gone, or as good as".to_owned() })
    }

    /// The doomed that live still are killed.
    pub(crate) fn doom_is_over<P: Serves>(
        &mut self,
        id: u32,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) {
        if let Some(Active { hold: Hold::Down { nodes, .. }, .. }) = self.active.get(&id) {
            for node in nodes {
                cluster.crash(*node, Crash::Power, observer);
            }
        }
    }

    /// Damages a disk, and restarts the replica so that it looks at it; only as many as a majority survives.
    fn flip<P: Serves>(
        &mut self,
        node: NodeId,
        at: Duration,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) -> Result<Hold, String> {
        self.may_lose(node, cluster)?;
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(
            u64::try_from(at.as_nanos()).expect("a run ends within centuries"),
        );
        let folder = if chance.random_bool(0.7) { Folder::Journal } else { Folder::Snapshots };
        let Some((file, at)) = cluster.flip_bit(node, folder) else {
            return Err(format!("nothing to damage on {node}"));
        };
        self.flipped.insert(node);
        cluster.crash(node, Crash::Process, observer);
        Ok(Hold::Down { nodes: vec![node], evidence: format!("a bit of {file} at byte {at}") })
    }

    fn links<P: Serves>(&self, fault: &Fault, directions: Vec<Direction>, cluster: &Cluster<P>) -> Hold {
        let all = directions.clone();
        let fault = LinkFault::new(fault, directions).expect("only link faults come here");
        Hold::Links { before: sum(&all, &fault, cluster), all, fault }
    }

    fn apply_links<P: Serves>(&self, cluster: &mut Cluster<P>) {
        let faults = self.active.values().filter_map(|active| match &active.hold {
            Hold::Links { fault, .. } => Some(fault),
            _ => None,
        });
        cluster.set_links(&links::in_force(faults));
    }

    fn install_clock<P: Serves>(
        &mut self,
        id: u32,
        fault: &Fault,
        nodes: Vec<NodeId>,
        cluster: &mut Cluster<P>,
    ) -> Hold {
        let setting = fault.clock_setting().expect("only clock faults come here");
        if let Fault::ClockStrobe { period, .. } = fault {
            let at = cluster.now() + *period;
            cluster.alarm(at, Alarm::Strobe { fault: id }.number());
        }
        for node in &nodes {
            cluster.set_clock(*node, setting);
        }
        let mut error_us_most = 0;
        look_at_clocks(&nodes, &mut error_us_most, cluster);
        Hold::Clock { nodes, setting, error_us_most }
    }

    /// A clock jumps there or back.
    pub(crate) fn strobe<P: Serves>(&mut self, id: u32, cluster: &mut Cluster<P>) {
        let Some(Active { fault, hold: Hold::Clock { nodes, setting, error_us_most }, .. }) =
            self.active.get_mut(&id)
        else {
            return;
        };
        let Fault::ClockStrobe { offset_ms, period } = fault else { return };
        look_at_clocks(nodes, error_us_most, cluster);
        let offset_us = if setting.offset_us == 0 { *offset_ms * 1_000 } else { 0 };
        *setting = ClockSetting { offset_us, rate: 1.0 };
        for node in nodes.iter() {
            cluster.set_clock(*node, *setting);
        }
        if !self.frozen {
            let at = cluster.now() + *period;
            cluster.alarm(at, Alarm::Strobe { fault: id }.number());
        }
    }

    /// A fault's time is over.
    pub(crate) fn end_fault<P: Serves>(
        &mut self,
        id: u32,
        entries: &mut Vec<Entry>,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) {
        if !self.frozen {
            self.end(id, entries, cluster, observer);
        }
    }

    fn end<P: Serves>(
        &mut self,
        id: u32,
        entries: &mut Vec<Entry>,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) {
        let Some(active) = self.active.remove(&id) else { return };
        let Active { fault, name, targets, hold } = active;
        let (bit, evidence) = self.lift(&fault, hold, cluster, observer);
        self.apply_links(cluster);
        let stage = if bit { FaultStage::Healed } else { FaultStage::NeverBit };
        self.say(id, (&name, &targets), (stage, evidence), entries, cluster);
    }

    /// Undoes what a fault holds; tells whether it bit.
    fn lift<P: Serves>(
        &mut self,
        fault: &Fault,
        hold: Hold,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) -> (bool, String) {
        match hold {
            Hold::Down { nodes, evidence } => {
                for node in &nodes {
                    cluster.crash(*node, Crash::Process, observer);
                    self.start(*node, cluster, observer);
                }
                (true, evidence)
            }
            Hold::Paused(nodes) => {
                nodes.iter().for_each(|node| cluster.pause(*node, false));
                (true, "paused".to_owned())
            }
            Hold::Links { fault, all, before } => {
                let (bites, of_what) =
                    evidence::bites(&fault.condition, &before, &sum(&all, &fault, cluster));
                (bites > 0, format!("{bites} messages {of_what}"))
            }
            Hold::Clock { nodes, mut error_us_most, .. } => {
                look_at_clocks(&nodes, &mut error_us_most, cluster);
                nodes.iter().for_each(|node| cluster.set_clock(*node, ClockSetting::default()));
                (error_us_most > 1_000, format!("{error_us_most} us off at most"))
            }
            Hold::Members { evidence } => {
                let taken_on = *fault == Fault::Wipe || self.operator.accepted;
                (taken_on, format!("{evidence}; voters are {}", in_words(self.operator.voters())))
            }
            Hold::Transfer => {
                self.operate(cluster, observer);
                self.operator.leave_it();
                (self.operator.transferred, "another leads".to_owned())
            }
            Hold::Disk { nodes, all, before } => {
                let now = disks(&all, cluster);
                for node in &nodes {
                    lift_disk(fault, *node, cluster);
                    if !cluster.is_up(*node) && *fault == Fault::DiskFull && !self.is_held_down(*node) {
                        self.start(*node, cluster, observer);
                    }
                }
                let (bites, of_what) = match fault {
                    Fault::DiskStall => (now.held_up - before.held_up, "syncs held up"),
                    Fault::DiskFull => (now.refused_full - before.refused_full, "writes refused"),
                    _ => (now.syncs - before.syncs, "slow syncs"),
                };
                (bites > 0, format!("{bites} {of_what}"))
            }
        }
    }

    fn is_held_down(&self, node: NodeId) -> bool {
        self.active
            .values()
            .any(|active| matches!(&active.hold, Hold::Down { nodes, .. } if nodes.contains(&node)))
    }

    /// Starts a replica; now and then its power goes again while it recovers.
    pub(crate) fn start<P: Serves>(
        &mut self,
        node: NodeId,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) {
        if cluster.is_up(node) || self.lost.contains_key(&node) || self.is_held_down(node) {
            return;
        }
        let mut chance = self.chance(Draw::Start, cluster.now(), node.0);
        if !self.frozen && chance.random_bool(0.1) {
            cluster.crash_soon(node, chance.random_range(0..8), true);
        }
        cluster.start(node, observer);
    }

    /// A replica has stopped; tells what is wrong with that, if anything is.
    pub(crate) fn stopped<P: Serves>(
        &mut self,
        replica: NodeId,
        why: &Stop,
        cluster: &mut Cluster<P>,
    ) -> Option<String> {
        match why {
            Stop::Doomed => {
                if !self.is_held_down(replica) {
                    let at = cluster.now() + Duration::from_millis(10);
                    cluster.alarm(at, Alarm::Restart { node: replica }.number());
                }
                None
            }
            Stop::Disk(_) if self.has_full_disk(replica) => None,
            Stop::Refused(why) if self.flipped.contains(&replica) => {
                self.lost.insert(replica, why.clone());
                None
            }
            Stop::Disk(_) | Stop::Refused(_) | Stop::Panicked(_) => Some(format!("{replica}: {why}")),
        }
    }

    fn has_full_disk(&self, node: NodeId) -> bool {
        self.active.values().any(|active| {
            active.fault == Fault::DiskFull
                && matches!(&active.hold, Hold::Disk { nodes, .. } if nodes.contains(&node))
        })
    }

    /// A majority of those that can be saved, drawn by the seed: from now on nothing is wrong within it, and outside of it all
    /// stays as it is.
    pub(crate) fn heal_quorum<P: Serves>(
        &mut self,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) -> Vec<NodeId> {
        self.frozen = true;
        self.operator.leave_it();
        let mut saved = self.sound_voters();
        // While members change, majorities of two sets are needed, and some may know only the one: then all are healed.
        if self.members_are_certain(cluster) {
            let mut chance = self.chance(Draw::Quorum, Time::ZERO, 0);
            while saved.len() > quorum::majority(self.operator.voters().len()) {
                let one = chance.random_range(0..saved.len());
                saved.remove(one);
            }
        } else {
            saved.clone_from(&self.nodes);
        }
        let inside = |node: &NodeId| saved.contains(node);
        let mut active = std::mem::take(&mut self.active);
        for Active { fault, hold, .. } in active.values_mut() {
            match hold {
                Hold::Down { nodes, .. } => nodes.retain(|node| !inside(node)),
                Hold::Paused(nodes) => {
                    nodes.iter().filter(|node| inside(node)).for_each(|node| cluster.pause(*node, false));
                    nodes.retain(|node| !inside(node));
                }
                Hold::Members { .. } | Hold::Transfer => {}
                Hold::Links { fault, .. } => {
                    fault.directions.retain(|(from, to)| !inside(from) || !inside(to));
                }
                Hold::Clock { nodes, .. } => {
                    let healed = nodes.iter().filter(|node| inside(node));
                    healed.for_each(|node| cluster.set_clock(*node, ClockSetting::default()));
                    nodes.retain(|node| !inside(node));
                }
                Hold::Disk { nodes, .. } => {
                    nodes
                        .iter()
                        .filter(|node| inside(node))
                        .for_each(|node| lift_disk(fault, *node, cluster));
                    nodes.retain(|node| !inside(node));
                }
            }
        }
        self.active = active;
        self.apply_links(cluster);
        for node in &saved {
            self.start(*node, cluster, observer);
        }
        saved
    }

    /// Those who vote and whose disks are whole.
    pub(crate) fn sound_voters(&self) -> Vec<NodeId> {
        self.operator.voters().keys().copied().filter(|node| !self.lost.contains_key(node)).collect()
    }

    /// Ends everything.
    pub(crate) fn heal<P: Serves>(
        &mut self,
        entries: &mut Vec<Entry>,
        cluster: &mut Cluster<P>,
        observer: &mut impl Observer<P>,
    ) {
        self.frozen = true;
        while let Some((id, _)) = self.active.first_key_value() {
            self.end(*id, entries, cluster, observer);
        }
        for node in self.nodes.clone() {
            self.start(node, cluster, observer);
        }
    }

    /// How far a clock may be ahead or behind at most: so long it may stand still when it is healed.
    pub(crate) fn clock_error_most(&self) -> Duration {
        let of = |injection: &Injection| match &injection.fault {
            Fault::ClockOffset { offset_ms } | Fault::ClockStrobe { offset_ms, .. } => {
                Duration::from_millis(offset_ms.unsigned_abs())
            }
            Fault::ClockRate { rate } => injection.lasts.mul_f64((rate - 1.0).abs()),
            _ => Duration::ZERO,
        };
        self.schedule.iter().map(of).sum()
    }
}

/// Lets a replica die in the middle of its next work.
fn doom<P: Serves>(id: u32, node: NodeId, (after, in_disk): (u32, bool), cluster: &mut Cluster<P>) {
    cluster.crash_soon(node, after, in_disk);
    let at = cluster.now() + DOOM;
    cluster.alarm(at, Alarm::Doom { fault: id }.number());
}

fn install_disk<P: Serves>(fault: &Fault, nodes: Vec<NodeId>, cluster: &mut Cluster<P>) -> Hold {
    let before = disks(&nodes, cluster);
    for node in &nodes {
        match fault {
            Fault::DiskStall => cluster.stall_disk(*node, true),
            Fault::DiskFull => cluster.fill_disk(*node, true),
            Fault::DiskSlow { times } => cluster.slow_disk(*node, *times),
            _ => unreachable!("only disk faults come here"),
        }
    }
    Hold::Disk { all: nodes.clone(), nodes, before }
}

fn lift_disk<P: Serves>(fault: &Fault, node: NodeId, cluster: &mut Cluster<P>) {
    match fault {
        Fault::DiskStall => cluster.stall_disk(node, false),
        Fault::DiskFull => cluster.fill_disk(node, false),
        _ => cluster.slow_disk(node, 1.0),
    }
}

fn disks<P: Serves>(nodes: &[NodeId], cluster: &Cluster<P>) -> DiskCounters {
    let mut sum = DiskCounters::default();
    for node in nodes {
        let one = cluster.disk_counters(*node);
        sum.syncs += one.syncs;
        sum.held_up += one.held_up;
        sum.refused_full += one.refused_full;
    }
    sum
}

fn look_at_clocks<P: Serves>(nodes: &[NodeId], most: &mut u64, cluster: &mut Cluster<P>) {
    for node in nodes {
        if let Some(error) = cluster.clock_error_us(*node) {
            *most = (*most).max(error.unsigned_abs());
        }
    }
}

fn sum<P: Serves>(directions: &[Direction], fault: &LinkFault, cluster: &Cluster<P>) -> LinkCounters {
    let mut sum = LinkCounters::default();
    for ((from, to), kind) in evidence::counted(directions, fault) {
        let counters = match kind {
            None => cluster.link_counters(from, to),
            Some(kind) => cluster.kind_counters(from, to, &kind),
        };
        evidence::add(&mut sum, &counters, &LinkCounters::default());
    }
    sum
}
