//! How members are changed, disks lost and leaders replaced: an operator is asked to, and sees it through.

use crate::fault::Fault;
use crate::operator::in_words;
use crate::runner::{Hold, Runner};
use crate::world::{InjectError, World};
use checkers::history::{FaultEvent, FaultStage};
use protocol::control::ControlRequest;
use protocol::{NodeId, Status, quorum};
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks of a busy operator.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

fn refuse<T>(why: impl Into<String>) -> Result<T, InjectError> {
    Err(InjectError::Unsupported(why.into()))
}

impl<W: World, R: FnMut(FaultEvent)> Runner<W, R> {
    /// All who say that they lead.
    async fn leaders(&mut self) -> Vec<(NodeId, Status)> {
        let mut leaders = Vec::new();
        for node in self.nodes.clone() {
            if self.occupied(node).is_none()
                && let Ok(status) = self.world.control(node, ControlRequest::Status).await
                && status.core.leads
            {
                leaders.push((node, status.core));
            }
        }
        leaders
    }

    /// The operator looks how things are, and asks again for what is not done.
    pub(crate) async fn operate(&mut self) {
        if !self.operator.is_busy() {
            return;
        }
        let leaders = self.leaders().await;
        for (leader, request) in self.operator.look(&leaders) {
            match self.world.administer(leader, &request).await {
                Ok(reply) => {
                    tracing::debug!(%leader, ?request, ?reply, "the operator asks");
                    self.operator.heard(&request, &reply);
                }
                Err(error) => tracing::debug!(%leader, %error, "the operator asks"),
            }
        }
    }

    /// Whoever leads in the newest epoch, if members and leaders can be changed there.
    async fn changeable(&mut self) -> Result<(NodeId, Status), InjectError> {
        let newest = self.leaders().await.into_iter().max_by_key(|(_, status)| status.epoch);
        match newest {
            None => refuse("nobody leads, or it cannot be asked"),
            Some((_, status)) if status.members.is_none() => refuse("its members cannot change"),
            Some(_) if self.operator.wish().is_some() => refuse(format!(
                "the members are to be {} already",
                self.operator.wish().map(in_words).unwrap_or_default()
            )),
            Some(leader) => Ok(leader),
        }
    }

    pub(crate) async fn install_members(
        &mut self,
        targets: &[NodeId],
    ) -> Result<(Hold, String), InjectError> {
        self.changeable().await?;
        let voters = targets.iter().map(|node| (*node, self.world.life(*node))).collect();
        if voters == *self.operator.voters() {
            return refuse("they vote already");
        }
        let evidence = format!("to vote are {}", in_words(&voters));
        self.operator.want(voters);
        self.operate().await;
        Ok((Hold::Members, evidence))
    }

    /// Only one disk at a time, so that a majority survives it: the next one goes when the new one votes.
    /// With `flip`, the disk is damaged first, in a way that follows from this number, and the node has to notice.
    pub(crate) async fn install_wipe(
        &mut self,
        node: NodeId,
        flip: Option<u64>,
    ) -> Result<(Hold, String), InjectError> {
        let (_, status) = self.changeable().await?;
        let mut voters = self.operator.voters().clone();
        if voters.get(&node) != Some(&self.world.life(node)) {
            return refuse(format!("{node} does not vote"));
        }
        if status.is_changing() || quorum::crash_faults_tolerated(voters.len()) == 0 {
            return refuse("no majority would survive it, or members are changing");
        }
        if let Some(why) = self.spoken_for(node) {
            return refuse(why);
        }
        let mut words = match flip {
            Some(chance) => self.world.flip_bit(node, chance).await? + "; ",
            None => String::new(),
        };
        words += &self.world.wipe(node).await?;
        self.forgetful.remove(&node);
        voters.insert(node, self.world.life(node));
        let evidence = format!("{words}; to vote are {}", in_words(&voters));
        self.operator.want(voters);
        // The new process knows nothing of the link faults that are in force.
        for error in self.apply().await {
            tracing::debug!(%error, "telling a node with a new disk");
        }
        Ok((Hold::Members, evidence))
    }

    pub(crate) async fn install_transfer(&mut self, to: NodeId) -> Result<(Hold, String), InjectError> {
        let (leader, _) = self.changeable().await?;
        if leader == to {
            return refuse(format!("{to} leads already"));
        }
        if !self.operator.voters().contains_key(&to) {
            return refuse(format!("{to} does not vote"));
        }
        self.operator.transfer(to);
        self.operate().await;
        Ok((Hold::Transfer, format!("{leader} leads, {to} is to")))
    }

    /// What became of a change of members, as far as it is.
    pub(crate) async fn end_members(&mut self, fault: &Fault) -> (FaultStage, String) {
        self.operate().await;
        let voters = in_words(self.operator.voters());
        match self.operator.wish().map(in_words) {
            None => (FaultStage::Healed, format!("voters are {voters}")),
            Some(wish) if matches!(fault, Fault::Wipe | Fault::BitFlip) || self.operator.accepted => {
                (FaultStage::Healed, format!("voters were {voters}, {wish} under way"))
            }
            Some(_) => (FaultStage::NeverBit, format!("no leader took it on; voters are {voters}")),
        }
    }

    /// What became of a transfer.
    pub(crate) async fn end_transfer(&mut self) -> (FaultStage, String) {
        self.operate().await;
        self.operator.leave_it();
        if self.operator.transferred {
            (FaultStage::Healed, "it was seen to lead".into())
        } else {
            (FaultStage::NeverBit, "it was not seen to lead".into())
        }
    }

    /// What was asked for is done, all else being well; or why not.
    pub(crate) async fn see_it_through(&mut self, deadline: Instant) -> Option<String> {
        self.operator.confirm();
        loop {
            self.operate().await;
            let wish = in_words(self.operator.wish()?);
            if Instant::now() >= deadline {
                let voters = in_words(self.operator.voters());
                return Some(format!("voters were {voters} and are not seen to have become {wish}"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
