//! How disks are full, and how they forget.
//!
//! A node that cannot write must not acknowledge. Ours stop; so a process that stops because of that while its disk is said to be
//! full is no crash, and is started again when there is room.
//!
//! A disk that forgets: what was synced is lost, and the node starts from what is left.
//!
//! Storage can rarely tell. The replica then has *amnesia*: it carries on, and has forgotten votes and entries that others
//! count on. That is more than a protocol that trusts its disk survives, so what a plan with such faults finds may be a real
//! violation. At the end of the run whoever has amnesia is replaced, by the rule for lost disks: it comes back with an empty
//! one, as another member.

use crate::exit::Exit;
use crate::install::Done;
use crate::members::LOOK;
use crate::runner::{HEAL_DEADLINE, Hold, Runner};
use crate::world::{Comeback, InjectError, World};
use checkers::history::{FaultEvent, FaultStage};
use protocol::NodeId;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long a leader may take for what the operator wants, before another is tried.
const LEADER_PATIENCE: Duration = Duration::from_secs(8);

impl<W: World, R: FnMut(FaultEvent)> Runner<W, R> {
    pub(crate) async fn install_full(&mut self, targets: Vec<NodeId>) -> Result<(Hold, String), InjectError> {
        let targets = self.free(targets)?;
        let (nodes, evidence) =
            self.on_each(targets, async |world, node| world.fill_disk(node).await).await?;
        Ok((Hold::Full { nodes, stopped: BTreeMap::new() }, evidence))
    }

    fn full_disks(&mut self) -> impl Iterator<Item = (&[NodeId], &mut BTreeMap<NodeId, Exit>)> {
        self.active.values_mut().filter_map(|active| match &mut active.hold {
            Hold::Full { nodes, stopped } => Some((nodes.as_slice(), stopped)),
            _ => None,
        })
    }

    /// Where to note that this node has stopped, if its disk is full.
    pub(crate) fn stopped_at_full_disk(&mut self, node: NodeId) -> Option<&mut BTreeMap<NodeId, Exit>> {
        self.full_disks().find(|(nodes, _)| nodes.contains(&node)).map(|(_, stopped)| stopped)
    }

    /// Who has stopped is not asked for anything.
    pub(crate) async fn look_at_full_disks(&mut self) {
        if self.full_disks().next().is_some() {
            self.look_for_exits().await;
        }
    }

    pub(crate) async fn keep_disks_full(&mut self) {
        let up = |(nodes, stopped): (&[NodeId], &mut BTreeMap<NodeId, Exit>)| {
            nodes.iter().copied().filter(|node| !stopped.contains_key(node)).collect::<Vec<_>>()
        };
        let full: Vec<_> = self.full_disks().flat_map(up).collect();
        for node in full {
            if let Err(error) = self.world.fill_disk(node).await {
                // It may have stopped just now.
                tracing::debug!(%node, %error, "keeping its disk full");
            }
        }
    }

    pub(crate) async fn end_full(
        &mut self,
        nodes: Vec<NodeId>,
        mut stopped: BTreeMap<NodeId, Exit>,
    ) -> (FaultStage, String) {
        let mut stage = FaultStage::Healed;
        let mut evidence = Vec::new();
        for node in nodes {
            let said = stopped.remove(&node);
            let freed = self.world.free_disk(node).await;
            let restarted = match &said {
                Some(_) => self.world.restart(node).await,
                None => Ok("it went on".to_owned()),
            };
            match (said, freed, restarted) {
                (_, Err(error), _) | (_, _, Err(error)) => {
                    stage = FaultStage::Indeterminate;
                    evidence.push(format!("{node}: {error}"));
                }
                (Some(said), Ok(_), Ok(words)) => {
                    let last = said.last_line();
                    evidence.push(format!("{node}: it stopped: {last}; with room, it {words}"));
                }
                (None, Ok(refused), Ok(words)) => {
                    if refused == 0 && stage == FaultStage::Healed {
                        stage = FaultStage::NeverBit;
                    }
                    evidence.push(format!("{node}: {refused} writes were refused, {words}"));
                }
            }
        }
        for error in self.apply().await {
            evidence.push(error.to_string());
        }
        (stage, evidence.join("; "))
    }

    pub(crate) async fn install_truncate(
        &mut self,
        targets: Vec<NodeId>,
        bytes: u64,
    ) -> Result<(Hold, String), InjectError> {
        let mut done = Done::default();
        for node in self.free(targets)? {
            let cut = self.world.truncate(node, bytes).await;
            if let Err(InjectError::Failed(_)) = cut {
                // It may have been killed, and its disk cut.
                self.forgetful.insert(node);
                self.restart(vec![node]).await;
            }
            done.add(node, cut)?;
        }
        Ok((Hold::Truncated(done.nodes), done.evidence.join("; ")))
    }

    pub(crate) async fn install_rollback(
        &mut self,
        targets: Vec<NodeId>,
    ) -> Result<(Hold, String), InjectError> {
        let targets = self.free(targets)?;
        let (nodes, evidence) =
            self.on_each(targets, async |world, node| world.copy_disk(node).await).await?;
        Ok((Hold::Copied(nodes), evidence))
    }

    /// Has each come back, by `how`, on a disk that has forgotten.
    pub(crate) async fn end_forgetting(
        &mut self,
        nodes: Vec<NodeId>,
        mut how: impl AsyncFnMut(&mut W, NodeId) -> Result<Comeback, InjectError>,
    ) -> (FaultStage, String) {
        let (mut has_bitten, mut is_certain) = (false, true);
        let mut evidence = Vec::new();
        for node in nodes {
            let comeback = how(&mut self.world, node).await;
            has_bitten |= matches!(comeback, Ok(Comeback::Forgetful(_) | Comeback::Refused(_)));
            evidence.push(match comeback {
                Ok(Comeback::Forgetful(words)) => {
                    self.forgetful.insert(node);
                    format!("{node}: {words}, and it carries on as if nothing had happened")
                }
                Ok(Comeback::Refused(words)) => format!("{node}: {words}"),
                Ok(Comeback::Whole(words)) => format!("{node}: nothing was lost: {words}"),
                Err(error) => {
                    // What its disk holds nobody knows; that need not be the node's fault. It is started again when all is healed.
                    is_certain = false;
                    self.forgetful.insert(node);
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
        for error in self.apply().await {
            evidence.push(error.to_string());
        }
        (stage, evidence.join("; "))
    }

    /// Those that have forgotten what they had promised come back as others, one after the other.
    pub(crate) async fn replace_forgetful(&mut self) {
        let mut forgetful = std::mem::take(&mut self.forgetful);
        forgetful.retain(|node| self.operator.voters().contains_key(node));
        if forgetful.is_empty() || !self.world.changes_members() {
            return;
        }
        for node in forgetful {
            if let Err(why) = self.replace(node).await {
                let problem = "it has forgotten what it had promised, and was not replaced";
                self.problems.push(format!("{node}: {problem}: {why}"));
            }
        }
    }

    async fn replace(&mut self, node: NodeId) -> Result<(), String> {
        self.bring_about().await?;
        let deadline = Instant::now() + HEAL_DEADLINE;
        while let Err(error) = self.install_wipe(node, None).await {
            // Nobody may lead at the moment.
            if Instant::now() >= deadline {
                return Err(error.to_string());
            }
            tokio::time::sleep(LOOK).await;
        }
        self.bring_about().await
    }

    /// Sees what the operator wants through, with another leader if need be: one goes by what its followers acknowledged before
    /// they forgot, and could wait for them for ever.
    async fn bring_about(&mut self) -> Result<(), String> {
        if self.see_it_through(Instant::now() + LEADER_PATIENCE).await.is_none() {
            return Ok(());
        }
        if let Some(leader) = self.world.leader().await {
            self.world.kill(leader).await.map_err(|error| error.to_string())?;
            self.world.restart(leader).await.map_err(|error| error.to_string())?;
        }
        self.see_it_through(Instant::now() + HEAL_DEADLINE).await.map_or(Ok(()), Err)
    }
}
