//! How each fault is put in force, and what is refused.

use crate::fault::Fault;
use crate::links::{self, LinkFault};
use crate::runner::{Active, Hold, Runner, Strobe};
use crate::schedule::Injection;
use crate::target::{Shape, Targets, names};
use crate::world::{InjectError, LinkMeans, Pressure, World};
use checkers::history::FaultEvent;
use protocol::NodeId;
use protocol::control::ControlRequest;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// How long to look for a leader when a fault wants one.
const LEADER_DEADLINE: Duration = Duration::from_secs(3);

/// A fault that is not in force, and on whom it would have been.
pub(crate) struct Refused {
    pub(crate) targets: String,
    pub(crate) error: InjectError,
}

impl<W: World, R: FnMut(FaultEvent)> Runner<W, R> {
    pub(crate) async fn install(&mut self, injection: &Injection) -> Result<(Hold, String, String), Refused> {
        let refuse = |targets: &str, error| Refused { targets: targets.into(), error };
        if let Some(why) = &injection.impossible {
            return Err(refuse("–", InjectError::Unsupported(why.clone())));
        }
        let leader = if injection.wants_leader() { self.find_leader().await } else { None };
        let skip = |why| refuse("–", InjectError::Unsupported(why));
        if let Fault::Partition(shape) = &injection.fault {
            let (directions, text) = shape.cuts(&self.nodes, leader).map_err(skip)?;
            let hold =
                self.install_links(&injection.fault, directions).await.map_err(|e| refuse(&text, e))?;
            let means = self.link_means(&injection.fault);
            return Ok((hold, text, format!("links cut {}", means.by)));
        }
        let targets = injection.targets.now(&self.nodes, leader).map_err(skip)?;
        let text = names(&targets);
        let installed = match &injection.fault {
            Fault::Kill => self.install_kill(targets).await,
            Fault::PowerLoss => self.install_power_loss(targets).await,
            Fault::Pause => self.install_pause(targets).await,
            Fault::ClockOffset { .. } | Fault::ClockRate { .. } | Fault::ClockStrobe { .. } => {
                self.install_clock(&injection.fault, targets).await
            }
            Fault::CpuPressure { workers } => self.install_pressure(Pressure::Cpu(*workers), targets).await,
            Fault::MemoryPressure { mebibytes } => {
                self.install_pressure(Pressure::MemoryMib(*mebibytes), targets).await
            }
            Fault::Members => self.install_members(&targets).await,
            Fault::Wipe => self.install_wipe(targets[0], None).await,
            Fault::BitFlip => {
                let chance = u64::try_from(injection.at.as_nanos()).expect("a run ends within centuries");
                self.install_wipe(targets[0], Some(chance)).await
            }
            Fault::Transfer => self.install_transfer(targets[0]).await,
            Fault::Truncate { bytes } => {
                self.install_truncate(targets, bytes.expect("drawn before the run")).await
            }
            Fault::Rollback => self.install_rollback(targets).await,
            Fault::DiskFull => self.install_full(targets).await,
            Fault::DiskStall | Fault::DiskSlow { .. } => {
                Err(InjectError::Unsupported("only in the simulator".into()))
            }
            packet => {
                let directions = links::touching(&targets, &self.nodes);
                if directions.is_empty() {
                    return Err(refuse(&text, InjectError::Unsupported("there are no links".into())));
                }
                let hold = self.install_links(packet, directions).await;
                hold.map(|hold| (hold, format!("links conditioned {}", self.link_means(packet).by)))
            }
        };
        installed.map(|(hold, evidence)| (hold, text.clone(), evidence)).map_err(|e| refuse(&text, e))
    }

    async fn find_leader(&mut self) -> Option<NodeId> {
        let deadline = Instant::now() + LEADER_DEADLINE;
        loop {
            if let Some(leader) = self.world.leader().await {
                return Some(leader);
            }
            if Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Why a process fault on this node has to wait, if it has to.
    pub(crate) fn occupied(&self, node: NodeId) -> Option<String> {
        self.active.iter().find_map(|(id, active)| match &active.hold {
            Hold::Down { nodes, .. } | Hold::Truncated(nodes) if nodes.contains(&node) => {
                Some(format!("{node} is down by fault {id}"))
            }
            Hold::Paused(nodes) if nodes.contains(&node) => Some(format!("{node} is paused by fault {id}")),
            Hold::Full { stopped, .. } if stopped.contains_key(&node) => {
                Some(format!("{node} has stopped at its full disk, by fault {id}"))
            }
            _ => None,
        })
    }

    /// Why a fault that ends this node's process, stops it or takes its disk has to wait, if it has to.
    pub(crate) fn spoken_for(&self, node: NodeId) -> Option<String> {
        let disk = || {
            self.active.iter().find_map(|(id, active)| match &active.hold {
                Hold::Copied(nodes) if nodes.contains(&node) => {
                    Some(format!("the disk of {node} is to be rolled back by fault {id}"))
                }
                Hold::Full { nodes, .. } if nodes.contains(&node) => {
                    Some(format!("the disk of {node} is full by fault {id}"))
                }
                _ => None,
            })
        };
        self.occupied(node).or_else(disk)
    }

    /// Those of the targets whose processes nothing is done to.
    pub(crate) fn free(&self, targets: Vec<NodeId>) -> Result<Vec<NodeId>, InjectError> {
        without(targets, |node| self.spoken_for(node))
    }

    /// Does something to each of the targets: on whom it is done, and what shows it.
    ///
    /// # Errors
    /// Those of [`Done::add`].
    pub(crate) async fn on_each(
        &mut self,
        targets: Vec<NodeId>,
        mut what: impl AsyncFnMut(&mut W, NodeId) -> Result<String, InjectError>,
    ) -> Result<(Vec<NodeId>, String), InjectError> {
        let mut done = Done::default();
        for node in targets {
            done.add(node, what(&mut self.world, node).await)?;
        }
        Ok((done.nodes, done.evidence.join("; ")))
    }

    async fn install_kill(&mut self, targets: Vec<NodeId>) -> Result<(Hold, String), InjectError> {
        let targets = self.free(targets)?;
        let (nodes, evidence) = self.on_each(targets, async |world, node| world.kill(node).await).await?;
        Ok((Hold::Down { nodes, lost_nothing: false }, evidence))
    }

    async fn install_power_loss(&mut self, targets: Vec<NodeId>) -> Result<(Hold, String), InjectError> {
        let mut done = Done::default();
        let nodes = self.free(targets)?;
        let results = self.world.lose_power(&nodes).await;
        let lost_nothing = results.iter().flatten().all(|dark| dark.lost_nothing);
        let (gone, not): (Vec<_>, Vec<_>) =
            nodes.into_iter().zip(results).partition(|(_, result)| result.is_ok());
        // All were struck: they have to come back, even those of whom it is not certain that they are gone.
        let is_failed = |result: &Result<_, _>| matches!(result, Err(InjectError::Failed(_)));
        let struck: Vec<_> =
            not.iter().filter(|(_, result)| is_failed(result)).map(|(node, _)| *node).collect();
        if gone.is_empty() {
            self.restart(struck.clone()).await;
        }
        for (node, result) in gone.into_iter().chain(not) {
            done.add(node, result.map(|dark| dark.evidence))?;
        }
        done.nodes.extend(struck);
        Ok((Hold::Down { nodes: done.nodes, lost_nothing }, done.evidence.join("; ")))
    }

    async fn install_pause(&mut self, targets: Vec<NodeId>) -> Result<(Hold, String), InjectError> {
        let targets = self.free(targets)?;
        let (nodes, evidence) = self.on_each(targets, async |world, node| world.pause(node).await).await?;
        Ok((Hold::Paused(nodes), evidence))
    }

    async fn install_pressure(
        &mut self,
        pressure: Pressure,
        targets: Vec<NodeId>,
    ) -> Result<(Hold, String), InjectError> {
        let press = async |world: &mut W, node| world.press(node, pressure).await;
        let (nodes, evidence) = self.on_each(targets, press).await?;
        Ok((Hold::Pressed(pressure, nodes), evidence))
    }

    async fn install_links(
        &mut self,
        fault: &Fault,
        directions: Vec<(NodeId, NodeId)>,
    ) -> Result<Hold, InjectError> {
        // Read the counters first: what is counted from here on is this fault's (and its neighbours').
        let involved: BTreeSet<NodeId> = directions.iter().flat_map(|(a, b)| [*a, *b]).collect();
        let mut reached = 0;
        for node in involved {
            if self.occupied(node).is_none() {
                let status = self.world.control(node, ControlRequest::Status).await?;
                self.counters.observe(&status);
                reached += 1;
            }
        }
        if reached == 0 {
            return Err(InjectError::Unsupported("all nodes on these links are down or paused".into()));
        }
        let fault = LinkFault::new(fault, directions).expect("only link faults come here");
        let before = self.counters.sum(&fault);
        let hold = Hold::Links { fault, before };
        self.try_hold(hold).await
    }

    fn link_means(&self, fault: &Fault) -> LinkMeans {
        self.world
            .link_means(&LinkFault::new(fault, Vec::new()).expect("only link faults come here").one_way())
    }

    async fn install_clock(
        &mut self,
        fault: &Fault,
        targets: Vec<NodeId>,
    ) -> Result<(Hold, String), InjectError> {
        let targets = without(targets, |node| self.occupied(node))?;
        let setting = fault.clock_setting().expect("only clock faults come here");
        let strobe = match fault {
            Fault::ClockStrobe { period, .. } => {
                Some(Strobe { period: *period, next: Instant::now() + *period, ahead: true })
            }
            _ => None,
        };
        self.clock_offset_us_most = self.clock_offset_us_most.max(setting.offset_us.unsigned_abs());
        let hold = Hold::Clock { nodes: targets, setting, strobe, error_us_most: 0 };
        let evidence = format!("{} set", self.world.clock_means());
        self.try_hold(hold).await.map(|hold| (hold, evidence))
    }

    /// Tells the nodes of what is in force with `hold` added; takes it back where that does not work.
    async fn try_hold(&mut self, hold: Hold) -> Result<Hold, InjectError> {
        const PROBE: u32 = 0;
        let probe = Active {
            name: String::new(),
            fault: Fault::Pause,
            targets: String::new(),
            end: Instant::now(),
            hold,
        };
        self.active.insert(PROBE, probe);
        let errors = self.apply().await;
        let hold = self.active.remove(&PROBE).expect("inserted above").hold;
        match errors.into_iter().next() {
            None => Ok(hold),
            Some(error) => {
                self.apply().await;
                Err(error)
            }
        }
    }
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
    if free.is_empty() { Err(InjectError::Unsupported(reasons.join(", "))) } else { Ok(free) }
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

impl Injection {
    fn wants_leader(&self) -> bool {
        matches!(self.targets, Targets::Leader | Targets::Followers)
            || matches!(self.fault, Fault::Partition(Shape::Leader | Shape::LeaderDeaf))
    }
}
