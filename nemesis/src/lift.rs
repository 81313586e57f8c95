//! How each fault ends, and what showed that it bit.

use crate::action::{Action, Comeback, DiskCounters, Evidence, InjectError, Pressure};
use crate::disk::DiskCondition;
use crate::evidence::bites;
use crate::exit::{Exit, ExitKind};
use crate::fault::Fault;
use crate::hold::Hold;
use crate::install::disk_bites;
use crate::machine::Nemesis;
use crate::world::World;
use checkers::history::FaultStage;
use protocol::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// A clock that was off by no more than this was not bent.
const CLOCK_ERROR_US_LEAST: u64 = 1_000;

impl Nemesis {
    /// Undoes what a fault holds; what became of it.
    pub(crate) async fn lift(
        &mut self,
        fault: &Fault,
        hold: Hold,
        world: &mut impl World,
    ) -> (FaultStage, String) {
        match hold {
            Hold::Down { nodes, lost_nothing } => match self.start_again(nodes, world).await {
                (FaultStage::Healed, words) if lost_nothing => {
                    (FaultStage::NeverBit, format!("nothing was unsynced when the power went; {words}"))
                }
                started => started,
            },
            Hold::Paused(nodes) => self.resume(nodes, world).await,
            Hold::Links { fault: link, before } => {
                // Another fault may be the reason why nothing is to be told.
                self.read_all(link.directions.iter().flat_map(|(from, to)| [*from, *to]), world).await;
                let errors = self.apply(world).await;
                let (count, what) = bites(&link.condition, &before, &self.log.links(&link));
                let unit = world.link_means(&link.one_way()).unit;
                judged(&errors, count > 0, format!("{count} {unit} {what}"))
            }
            Hold::Clock { nodes, error_us_most, .. } => {
                // A clock that runs fast or slow is most off in the end.
                let last = self.read_all(nodes.into_iter(), world).await;
                let error_us_most = last.into_iter().fold(error_us_most, u64::max);
                let errors = self.apply(world).await;
                let seen = format!("clock was up to {:.1} ms off", error_us_most as f64 / 1e3);
                judged(&errors, error_us_most > CLOCK_ERROR_US_LEAST, seen)
            }
            Hold::Disk { nodes, condition, before, stopped, went_on } => {
                self.lift_disk((nodes, condition, before), stopped, went_on, world).await
            }
            Hold::Pressed(pressure, nodes) => release(pressure, nodes, world).await,
            Hold::Truncated(nodes) => self.come_back(nodes, Action::ComeBack, world).await,
            Hold::Copied(nodes) => self.come_back(nodes, Action::RollBack, world).await,
            Hold::Flipped(node) => self.start_damaged(node, world).await,
            Hold::Members | Hold::NewDisk => self.end_members(fault, world).await,
            Hold::Transfer => self.end_transfer(world).await,
        }
    }

    /// Starts those again that are down; one may not be, if it is not certain that it was struck.
    pub(crate) async fn start_again(
        &mut self,
        nodes: Vec<NodeId>,
        world: &mut impl World,
    ) -> (FaultStage, String) {
        let mut evidence = Vec::new();
        let mut stage = FaultStage::Healed;
        for node in nodes {
            let (started, words) = self.start_one(node, world).await;
            if started == FaultStage::Indeterminate {
                stage = started;
            }
            evidence.push(format!("{node}: {words}"));
        }
        // A fresh process knows nothing of the link faults that are still in force.
        evidence.extend(self.apply(world).await.iter().map(ToString::to_string));
        (stage, evidence.join("; "))
    }

    async fn start_one(&mut self, node: NodeId, world: &mut impl World) -> (FaultStage, String) {
        if self.disks.is_lost(node) {
            return (FaultStage::Healed, "it refuses its disk".to_owned());
        }
        self.has_forgotten(node);
        match world.carry_out(&Action::Start(node)).await.map(Evidence::words) {
            Ok(words) | Err(InjectError::Unsupported(words)) => (FaultStage::Healed, words),
            Err(InjectError::Failed(error)) => {
                if self.crashes.iter().all(|(crashed, _)| *crashed != node) {
                    self.crashes.push((node, Exit { how: ExitKind::Silent, words: error.clone() }));
                }
                (FaultStage::Indeterminate, error)
            }
        }
    }

    async fn resume(&mut self, nodes: Vec<NodeId>, world: &mut impl World) -> (FaultStage, String) {
        let mut evidence = Vec::new();
        let mut stage = FaultStage::Healed;
        for node in nodes {
            // While it stood still, its leases ran out.
            self.has_forgotten(node);
            match world.carry_out(&Action::Resume(node)).await {
                Ok(went_on) => evidence.push(format!("{node}: {}", went_on.words())),
                Err(error) => {
                    stage = FaultStage::Indeterminate;
                    evidence.push(format!("{node}: {error}"));
                }
            }
        }
        evidence.extend(self.apply(world).await.iter().map(ToString::to_string));
        (stage, evidence.join("; "))
    }

    /// Reads what those have counted that can be asked; how far their clocks are off, microseconds.
    async fn read_all(&mut self, nodes: impl Iterator<Item = NodeId>, world: &mut impl World) -> Vec<u64> {
        let nodes: BTreeSet<NodeId> = nodes.collect();
        let mut clocks = Vec::new();
        for node in nodes {
            if self.occupied(node).is_some() {
                continue;
            }
            match self.read(node, world).await {
                Ok(clock_error_us) => clocks.push(clock_error_us.unsigned_abs()),
                Err(error) => tracing::debug!(%node, %error, "reading its counters"),
            }
        }
        clocks
    }

    /// Turns the clocks whose time has come; whether there were any.
    pub(crate) async fn turn_strobes(&mut self, world: &mut impl World) -> bool {
        let now = world.now();
        let due = |hold: &Hold| hold.strobe().is_some_and(|strobe| strobe.next <= now);
        let mut bent = Vec::new();
        for active in self.active.values().filter(|active| due(&active.hold)) {
            if let Hold::Clock { nodes, .. } = &active.hold {
                bent.extend(nodes.iter().copied());
            }
        }
        if bent.is_empty() {
            return false;
        }
        // How far they were off until now.
        self.read_all(bent.into_iter(), world).await;
        for active in self.active.values_mut() {
            if let Hold::Clock { strobe: Some(strobe), .. } = &mut active.hold
                && strobe.next <= now
            {
                strobe.ahead = !strobe.ahead;
                strobe.next = now + strobe.period;
            }
        }
        true
    }

    async fn lift_disk(
        &mut self,
        (nodes, condition, before): (Vec<NodeId>, DiskCondition, BTreeMap<NodeId, DiskCounters>),
        stopped: BTreeMap<NodeId, Exit>,
        went_on: Vec<String>,
        world: &mut impl World,
    ) -> (FaultStage, String) {
        let mut bit = !stopped.is_empty() || !went_on.is_empty();
        let mut evidence = went_on;
        let up = nodes.iter().copied().filter(|node| !stopped.contains_key(node));
        self.read_all(up, world).await;
        for node in &nodes {
            let (count, what) = disk_bites(&condition, &before[node], &self.log.disk(*node));
            bit |= count > 0;
            if !stopped.contains_key(node) {
                evidence.push(format!("{node}: {count} {what}"));
            }
        }
        let errors = self.apply(world).await;
        let mut stage = judged(&errors, bit, String::new()).0;
        evidence.extend(errors.iter().map(ToString::to_string));
        for (node, exit) in stopped {
            let (started, words) = self.start_one(node, world).await;
            if started == FaultStage::Indeterminate {
                stage = started;
            }
            evidence.push(format!("{node}: it stopped: {}; with room: {words}", exit.last_line()));
        }
        evidence.extend(self.apply(world).await.iter().map(ToString::to_string));
        (stage, evidence.join("; "))
    }

    /// Has each come back, by `how`, on a disk that has forgotten.
    async fn come_back(
        &mut self,
        nodes: Vec<NodeId>,
        how: impl Fn(NodeId) -> Action,
        world: &mut impl World,
    ) -> (FaultStage, String) {
        let (mut has_bitten, mut is_certain) = (false, true);
        let mut evidence = Vec::new();
        for node in nodes {
            self.has_forgotten(node);
            let comeback = world.carry_out(&how(node)).await.map(Evidence::comeback);
            has_bitten |= matches!(comeback, Ok(Comeback::Forgetful(_) | Comeback::Refused(_)));
            evidence.push(match comeback {
                Ok(Comeback::Forgetful(words)) => {
                    self.disks.forgot(node);
                    format!("{node}: {words}, and it carries on as if nothing had happened")
                }
                Ok(Comeback::Refused(words)) => format!("{node}: {words}"),
                Ok(Comeback::Whole(words)) => format!("{node}: nothing was lost: {words}"),
                Err(error) => {
                    // What its disk holds nobody knows; that need not be the node's fault. It is started again when all is healed.
                    is_certain = false;
                    self.disks.forgot(node);
                    let problem = "it did not come back on a disk that was to forget";
                    self.problems.push(format!("{node}: {problem}: {error}"));
                    format!("{node}: {error}")
                }
            });
        }
        let stage = match (is_certain, has_bitten) {
            (false, _) => FaultStage::Indeterminate,
            (true, true) => FaultStage::Healed,
            (true, false) => FaultStage::NeverBit,
        };
        // The new processes know nothing of the link faults that are in force.
        evidence.extend(self.apply(world).await.iter().map(ToString::to_string));
        (stage, evidence.join("; "))
    }
}

async fn release(pressure: Pressure, nodes: Vec<NodeId>, world: &mut impl World) -> (FaultStage, String) {
    let mut evidence = Vec::new();
    let mut stage = FaultStage::Healed;
    for node in nodes {
        match world.carry_out(&Action::Release(node, pressure)).await.map(Evidence::released) {
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

/// What became of a fault that ended with these errors, and bit or not.
fn judged(errors: &[InjectError], bit: bool, seen: String) -> (FaultStage, String) {
    match (errors, bit) {
        ([], true) => (FaultStage::Healed, seen),
        ([], false) => (FaultStage::NeverBit, seen),
        (errors, _) => {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            (FaultStage::Indeterminate, errors.join("; "))
        }
    }
}
