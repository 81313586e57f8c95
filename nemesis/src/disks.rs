//! How disks forget: what was synced is lost, and the node starts from what is left.
//!
//! Storage can rarely tell. The replica then has *amnesia*: it carries on, and has forgotten votes and entries that others
//! count on. That is more than a protocol that trusts its disk survives, so what a plan with such faults finds may be a real
//! violation. At the end of the run whoever has amnesia is replaced, by the rule for lost disks: it comes back with an empty
//! one, as another member.

use crate::install::Done;
use crate::members::LOOK;
use crate::runner::{HEAL_DEADLINE, Hold, Runner};
use crate::world::{Comeback, InjectError, World};
use checkers::history::{FaultEvent, FaultStage};
use protocol::ReplicaId;
use tokio::time::Instant;

impl<W: World, R: FnMut(FaultEvent)> Runner<W, R> {
    pub(crate) async fn install_truncate(
        &mut self,
        targets: Vec<ReplicaId>,
        bytes: u64,
    ) -> Result<(Hold, String), InjectError> {
        let mut done = Done::default();
        for node in self.free(targets)? {
            done.add(node, self.world.truncate(node, bytes).await)?;
        }
        Ok((Hold::Truncated(done.nodes), done.evidence.join("; ")))
    }

    pub(crate) async fn install_rollback(
        &mut self,
        targets: Vec<ReplicaId>,
    ) -> Result<(Hold, String), InjectError> {
        let mut done = Done::default();
        for node in self.free(targets)? {
            done.add(node, self.world.copy_disk(node).await)?;
        }
        Ok((Hold::Copied(done.nodes), done.evidence.join("; ")))
    }

    pub(crate) async fn end_truncate(&mut self, nodes: Vec<ReplicaId>) -> (FaultStage, String) {
        let mut back = Vec::new();
        for node in nodes {
            back.push((node, self.world.come_back(node).await));
        }
        self.end_forgetting(back).await
    }

    pub(crate) async fn end_rollback(&mut self, nodes: Vec<ReplicaId>) -> (FaultStage, String) {
        let mut back = Vec::new();
        for node in nodes {
            back.push((node, self.world.roll_back(node).await));
        }
        self.end_forgetting(back).await
    }

    async fn end_forgetting(
        &mut self,
        back: Vec<(ReplicaId, Result<Comeback, InjectError>)>,
    ) -> (FaultStage, String) {
        let mut stage = FaultStage::Healed;
        let mut evidence = Vec::new();
        for (node, comeback) in back {
            evidence.push(match comeback {
                Ok(Comeback::Forgetful(words)) => {
                    self.forgetful.insert(node);
                    format!("{node}: {words}, and it carries on as if nothing had happened")
                }
                Ok(Comeback::Refused(words)) => format!("{node}: {words}"),
                Ok(Comeback::Whole(words)) => {
                    if stage == FaultStage::Healed {
                        stage = FaultStage::NeverBit;
                    }
                    format!("{node}: nothing was lost: {words}")
                }
                Err(error) => {
                    stage = FaultStage::Indeterminate;
                    self.crashes.push((node, error.to_string()));
                    format!("{node}: {error}")
                }
            });
        }
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
        // A leader goes by what a follower acknowledged before it forgot, and could wait for it for ever.
        if let Some(leader) = self.world.leader().await
            && let Err(error) = self.start_anew(leader).await
        {
            self.problems.push(format!("{leader}: {error}"));
        }
        for node in forgetful {
            if let Err(why) = self.replace(node).await {
                let problem = "it has forgotten what it had promised, and was not replaced";
                self.problems.push(format!("{node}: {problem}: {why}"));
            }
        }
    }

    async fn start_anew(&mut self, node: ReplicaId) -> Result<(), InjectError> {
        self.world.kill(node).await?;
        self.world.restart(node).await.map(drop)
    }

    async fn replace(&mut self, node: ReplicaId) -> Result<(), String> {
        let deadline = Instant::now() + HEAL_DEADLINE;
        if let Some(problem) = self.see_it_through(deadline).await {
            return Err(problem);
        }
        while let Err(error) = self.install_wipe(node, None).await {
            // Nobody may lead at the moment.
            if Instant::now() >= deadline {
                return Err(error.to_string());
            }
            tokio::time::sleep(LOOK).await;
        }
        self.see_it_through(deadline).await.map_or(Ok(()), Err)
    }
}
