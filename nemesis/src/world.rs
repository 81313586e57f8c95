//! What the nemesis needs of where the nodes are.

use crate::action::{Action, Evidence, InjectError};
use checkers::history::FaultEvent;
use protocol::control::OneWayCondition;
use std::time::Duration;

/// By what means links are made bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkMeans {
    /// In a few words.
    pub by: &'static str,
    /// What is counted: messages, packets.
    pub unit: &'static str,
}

/// Nodes whose processes, links, clocks and disks can be broken. In virtual time every future is ready at once.
#[expect(async_fn_in_trait, reason = "one task owns a world; its futures need not be Send")]
pub trait World {
    /// How long the schedule has run.
    fn now(&self) -> Duration;

    /// Carries an action out, and says what shows it.
    async fn carry_out(&mut self, action: &Action) -> Result<Evidence, InjectError>;

    /// Takes down what became of a fault, now.
    fn record(&mut self, event: FaultEvent);

    /// By what means this condition comes about on links between nodes.
    fn link_means(&self, condition: &OneWayCondition) -> LinkMeans;

    /// In a few words, whose clocks a clock fault bends.
    fn clock_means(&self) -> &'static str;
}
