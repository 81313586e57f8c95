//! How each fault is put in force, and what is refused.

use crate::action::{Action, DiskCounters, Evidence, InjectError, Pressure, Reading};
use crate::disk::DiskCondition;
use crate::fault::Fault;
use crate::hold::{Hold, Strobe};
use crate::links::{self, LinkFault};
use crate::machine::{Active, Nemesis};
use crate::schedule::Injection;
use crate::target::names;
use crate::world::{LinkMeans, World};
use protocol::{NodeId, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// "Of late" is since a look that was at least so long ago.
const LATELY: Duration = Duration::from_secs(1);

/// Why a fault is not in force.
pub(crate) enum NotInForce {
    /// It is on whoever leads or coordinates most: nobody does now.
    NobodyLeads,
    /// And on whom it would have been.
    Refused { targets: String, error: InjectError },
}

/// A fault is refused: nothing was done.
pub(crate) fn refuse<T>(why: impl Into<String>) -> Result<T, InjectError> {
    Err(InjectError::Unsupported(why.into()))
}

impl Nemesis {
    pub(crate) async fn install(
        &mut self,
        injection: &Injection,
        world: &mut impl World,
    ) -> Result<(Hold, String, String), NotInForce> {
        let skip = |why| NotInForce::Refused { targets: "–".into(), error: InjectError::Unsupported(why) };
        if let Some(why) = &injection.impossible {
            return Err(skip(why.clone()));
        }
        let statuses = if injection.wants_a_look() { self.look(world).await } else { BTreeMap::new() };
        let chosen = match (injection.wants_leader(), injection.wants_busiest()) {
            (false, false) => None,
            (true, _) => Some(leader(&statuses).ok_or(NotInForce::NobodyLeads)?),
            (false, true) => Some(self.busiest(&statuses).ok_or(NotInForce::NobodyLeads)?),
        };
        if injection.fault.changes_group() && self.group.changes_members && leader(&statuses).is_none() {
            return Err(NotInForce::NobodyLeads);
        }
        let nodes = self.group.nodes.clone();
        if let Fault::Partition(shape) = &injection.fault {
            let (directions, text) = shape.cuts(&nodes, chosen).map_err(skip)?;
            let refused = |error| NotInForce::Refused { targets: text.clone(), error };
            let hold = self.install_links(&injection.fault, directions, world).await.map_err(refused)?;
            let means = link_means(&injection.fault, world);
            return Ok((hold, text, format!("links cut {}", means.by)));
        }
        let targets = injection.targets.now(&nodes, chosen).map_err(skip)?;
        let text = names(&targets);
        let installed = self.install_on(injection, targets, &statuses, world).await;
        installed
            .map(|(hold, evidence)| (hold, text.clone(), evidence))
            .map_err(|error| NotInForce::Refused { targets: text, error })
    }

    async fn install_on(
        &mut self,
        injection: &Injection,
        targets: Vec<NodeId>,
        statuses: &BTreeMap<NodeId, Status>,
        world: &mut impl World,
    ) -> Result<(Hold, String), InjectError> {
        match &injection.fault {
            Fault::Kill => {
                let targets = self.free(targets)?;
                let (nodes, evidence) = on_each(targets, Action::Kill, world).await?;
                Ok((Hold::Down { nodes, lost_nothing: false }, evidence))
            }
            Fault::PowerLoss => self.install_power_loss(targets, world).await,
            Fault::Pause => {
                let targets = self.free(targets)?;
                let (nodes, evidence) = on_each(targets, Action::Pause, world).await?;
                Ok((Hold::Paused(nodes), evidence))
            }
            Fault::CpuPressure { workers } => press(Pressure::Cpu(*workers), targets, world).await,
            Fault::MemoryPressure { mebibytes } => {
                press(Pressure::MemoryMib(*mebibytes), targets, world).await
            }
            Fault::ClockOffset { .. } | Fault::ClockRate { .. } => {
                self.install_clock(&injection.fault, None, targets, world).await
            }
            Fault::ClockStrobe { period, .. } => {
                self.install_clock(&injection.fault, Some(*period), targets, world).await
            }
            Fault::DiskStall => {
                let stalled = DiskCondition { stalled: true, ..DiskCondition::default() };
                self.install_disk(stalled, targets, world).await
            }
            Fault::DiskSlow { times } => {
                let slow = DiskCondition { times_slower: *times, ..DiskCondition::default() };
                self.install_disk(slow, targets, world).await
            }
            Fault::DiskFull => {
                let targets = self.free(targets)?;
                let full = DiskCondition { full: true, ..DiskCondition::default() };
                self.install_disk(full, targets, world).await
            }
            Fault::Truncate { bytes } => {
                self.install_truncate(targets, bytes.expect("drawn before the run"), world).await
            }
            Fault::Rollback => {
                let targets = self.free(targets)?;
                let (nodes, evidence) = on_each(targets, Action::CopyDisk, world).await?;
                Ok((Hold::Copied(nodes), evidence))
            }
            Fault::BitFlip => {
                let chance = u64::try_from(injection.at.as_nanos()).expect("a run ends within centuries");
                self.install_flip(targets[0], chance, statuses, world).await
            }
            Fault::Wipe => self.install_wipe(targets[0], statuses, world).await,
            Fault::Members => self.install_members(&targets, injection.at, statuses, world).await,
            Fault::Transfer => self.install_transfer(targets[0], statuses, world).await,
            Fault::Partition(_) => unreachable!("a partition has no targets"),
            Fault::Delay { .. }
            | Fault::Loss { .. }
            | Fault::Duplicate { .. }
            | Fault::Reorder { .. }
            | Fault::Rate { .. } => {
                let directions = links::touching(&targets, &self.group.nodes);
                if directions.is_empty() {
                    return refuse("there are no links");
                }
                let hold = self.install_links(&injection.fault, directions, world).await?;
                Ok((hold, format!("links conditioned {}", link_means(&injection.fault, world).by)))
            }
        }
    }

    /// What all replicas that answer say of themselves.
    pub(crate) async fn look(&mut self, world: &mut impl World) -> BTreeMap<NodeId, Status> {
        let statuses = match world.carry_out(&Action::Look).await {
            Ok(evidence) => evidence.seen(),
            Err(error) => {
                tracing::debug!(%error, "looking who leads");
                BTreeMap::new()
            }
        };
        let now = world.now();
        if self.coordinated_at.is_none_or(|at| now >= at + LATELY) {
            self.coordinated_at = Some(now);
            for (node, status) in &statuses {
                let (before, _) = self.coordinated.get(node).copied().unwrap_or_default();
                // A process that began anew counts from nothing.
                let more = status.coordinated.checked_sub(before).unwrap_or(status.coordinated);
                self.coordinated.insert(*node, (status.coordinated, more));
            }
        }
        statuses
    }

    /// Whoever leads; where nobody does, who coordinated most of late.
    fn busiest(&self, statuses: &BTreeMap<NodeId, Status>) -> Option<NodeId> {
        let lately = |node: &NodeId| self.coordinated.get(node).map_or(0, |(_, more)| *more);
        let most = || statuses.keys().copied().filter(|node| lately(node) > 0).max_by_key(lately);
        leader(statuses).or_else(most)
    }

    pub(crate) fn observe(&mut self, reading: &Reading) {
        self.log.observe(reading);
        for active in self.active.values_mut() {
            if let Hold::Clock { nodes, error_us_most, .. } = &mut active.hold
                && nodes.contains(&reading.node)
            {
                *error_us_most = (*error_us_most).max(reading.clock_error_us.unsigned_abs());
            }
        }
    }

    /// Takes in what a node has counted; how far its clock is off, microseconds.
    pub(crate) async fn read(&mut self, node: NodeId, world: &mut impl World) -> Result<i64, InjectError> {
        let reading = world.carry_out(&Action::Read(node)).await?.reading();
        self.observe(&reading);
        Ok(reading.clock_error_us)
    }

    /// Why a node cannot be asked for anything, if it cannot.
    pub(crate) fn occupied(&self, node: NodeId) -> Option<String> {
        let held =
            |(id, active): (&u32, &Active)| Some(format!("{} by fault {id}", active.hold.occupies(node)?));
        self.active
            .iter()
            .find_map(held)
            .or_else(|| self.disks.is_lost(node).then(|| format!("{node} refuses its disk")))
    }

    /// Why a fault that ends this node's process, stops it or takes its disk cannot come, if it cannot.
    pub(crate) fn spoken_for(&self, node: NodeId) -> Option<String> {
        let disk =
            |(id, active): (&u32, &Active)| Some(format!("{} by fault {id}", active.hold.needs_disk(node)?));
        self.occupied(node).or_else(|| self.active.iter().find_map(disk))
    }

    /// Those of the targets whose processes nothing is done to.
    pub(crate) fn free(&self, targets: Vec<NodeId>) -> Result<Vec<NodeId>, InjectError> {
        without(targets, |node| self.spoken_for(node))
    }

    async fn install_power_loss(
        &mut self,
        targets: Vec<NodeId>,
        world: &mut impl World,
    ) -> Result<(Hold, String), InjectError> {
        let mut done = Done::default();
        let nodes = self.free(targets)?;
        let results = world.carry_out(&Action::LosePower(nodes.clone())).await?.dark();
        let lost_nothing = results.iter().flatten().all(|dark| dark.lost_nothing);
        let (gone, not): (Vec<_>, Vec<_>) =
            nodes.into_iter().zip(results).partition(|(_, result)| result.is_ok());
        // All were struck: they have to come back, even those of whom it is not certain that they are gone.
        let is_failed = |result: &Result<_, _>| matches!(result, Err(InjectError::Failed(_)));
        let struck: Vec<_> =
            not.iter().filter(|(_, result)| is_failed(result)).map(|(node, _)| *node).collect();
        if gone.is_empty() {
            self.start_again(struck.clone(), world).await;
        }
        for (node, result) in gone.into_iter().chain(not) {
            done.add(node, result.map(|dark| dark.evidence))?;
        }
        done.nodes.extend(struck);
        Ok((Hold::Down { nodes: done.nodes, lost_nothing }, done.evidence.join("; ")))
    }

    async fn install_links(
        &mut self,
        fault: &Fault,
        directions: Vec<(NodeId, NodeId)>,
        world: &mut impl World,
    ) -> Result<Hold, InjectError> {
        let fault = LinkFault::new(fault, directions).expect("only link faults come here");
        // Read the counters first: what is counted from here on is this fault's (and its neighbours').
        let involved: BTreeSet<NodeId> = fault.directions.iter().flat_map(|(a, b)| [*a, *b]).collect();
        let reachable: Vec<_> = involved.into_iter().filter(|node| self.occupied(*node).is_none()).collect();
        if reachable.is_empty() {
            return refuse("all nodes on these links are down or paused");
        }
        for node in reachable {
            self.read(node, world).await?;
        }
        let before = self.log.links(&fault);
        self.try_hold(Hold::Links { fault, before }, world).await
    }

    async fn install_clock(
        &mut self,
        fault: &Fault,
        strobe: Option<Duration>,
        targets: Vec<NodeId>,
        world: &mut impl World,
    ) -> Result<(Hold, String), InjectError> {
        let nodes = without(targets, |node| self.occupied(node))?;
        let setting = fault.clock_setting().expect("only clock faults come here");
        let strobe = strobe.map(|period| Strobe { period, next: world.now() + period, ahead: true });
        let hold = Hold::Clock { nodes, setting, strobe, error_us_most: 0 };
        let hold = self.try_hold(hold, world).await?;
        Ok((hold, format!("{} set", world.clock_means())))
    }

    async fn install_disk(
        &mut self,
        condition: DiskCondition,
        targets: Vec<NodeId>,
        world: &mut impl World,
    ) -> Result<(Hold, String), InjectError> {
        let nodes = without(targets, |node| self.occupied(node))?;
        let mut before = BTreeMap::new();
        for node in &nodes {
            // A foreign process counts nothing; whether its disk can be like this is for the disk to say.
            if let Err(InjectError::Failed(why)) = self.read(*node, world).await {
                return Err(InjectError::Failed(why));
            }
            before.insert(*node, self.log.disk(*node));
        }
        let (stopped, went_on) = (BTreeMap::new(), Vec::new());
        self.said.clear();
        let hold = self.try_hold(Hold::Disk { nodes, condition, before, stopped, went_on }, world).await?;
        Ok((hold, self.said.join("; ")))
    }

    /// Tells the nodes of what is in force with `hold` added; takes it back where that does not work.
    async fn try_hold(&mut self, hold: Hold, world: &mut impl World) -> Result<Hold, InjectError> {
        const PROBE: u32 = 0;
        let injection = Injection::probe();
        let probe = Active { injection, targets: String::new(), end: Duration::MAX, hold };
        self.active.insert(PROBE, probe);
        let errors = self.apply(world).await;
        let hold = self.active.remove(&PROBE).expect("inserted above").hold;
        match errors.into_iter().next() {
            None => Ok(hold),
            Some(error) => {
                self.apply(world).await;
                Err(error)
            }
        }
    }
}

/// Whoever leads in the newest epoch.
pub(crate) fn leader(statuses: &BTreeMap<NodeId, Status>) -> Option<NodeId> {
    let leaders = statuses.iter().filter(|(_, status)| status.leads);
    leaders.max_by_key(|(_, status)| status.epoch).map(|(node, _)| *node)
}

fn link_means(fault: &Fault, world: &impl World) -> LinkMeans {
    let fault = LinkFault::new(fault, Vec::new()).expect("only link faults come here");
    world.link_means(&fault.one_way())
}

async fn press(
    pressure: Pressure,
    targets: Vec<NodeId>,
    world: &mut impl World,
) -> Result<(Hold, String), InjectError> {
    let (nodes, evidence) = on_each(targets, |node| Action::Press(node, pressure), world).await?;
    Ok((Hold::Pressed(pressure, nodes), evidence))
}

/// Does something to each of the targets: on whom it is done, and what shows it.
///
/// # Errors
/// Those of [`Done::add`].
async fn on_each(
    targets: Vec<NodeId>,
    what: impl Fn(NodeId) -> Action,
    world: &mut impl World,
) -> Result<(Vec<NodeId>, String), InjectError> {
    let mut done = Done::default();
    for node in targets {
        done.add(node, world.carry_out(&what(node)).await.map(Evidence::words))?;
    }
    Ok((done.nodes, done.evidence.join("; ")))
}

/// Those for whom there is no reason to be left out.
fn without(
    targets: Vec<NodeId>,
    reason: impl Fn(NodeId) -> Option<String>,
) -> Result<Vec<NodeId>, InjectError> {
    let (mut free, mut reasons) = (Vec::new(), Vec::new());
    for node in targets {
        match reason(node) {
            Some(why) => reasons.push(why),
            None => free.push(node),
        }
    }
    if free.is_empty() { refuse(reasons.join(", ")) } else { Ok(free) }
}

/// The targets on which a fault is in force already, so that one that fails does not leave the others faulted.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) evidence: Vec<String>,
}

impl Done {
    /// An error is passed on only while nothing is in force.
    pub(crate) fn add(
        &mut self,
        node: NodeId,
        result: Result<String, InjectError>,
    ) -> Result<(), InjectError> {
        match result {
            Ok(words) => {
                self.nodes.push(node);
                self.evidence.push(format!("{node}: {words}"));
            }
            Err(error) if self.nodes.is_empty() => return Err(error),
            Err(error) => self.evidence.push(format!("{node}: not done: {error}")),
        }
        Ok(())
    }
}

/// What a fault's disk counters say that it did.
pub(crate) fn disk_bites(
    condition: &DiskCondition,
    before: &DiskCounters,
    after: &DiskCounters,
) -> (u64, &'static str) {
    if condition.full {
        (after.refused - before.refused, "writes were refused")
    } else if condition.stalled {
        (after.held_up - before.held_up, "syncs were held up")
    } else {
        (after.syncs - before.syncs, "syncs were slow")
    }
}
