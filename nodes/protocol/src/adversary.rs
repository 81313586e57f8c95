//! Replicas that lie.
//!
//! A core is always correct. What makes a replica Byzantine stands between its core and everybody else: an adversary rewrites
//! what the core asks for at the end of each turn, before anything leaves and before anything is written. So there is one place
//! for lies, in simulator and nodes alike, and no `if byzantine` in a core.
//!
//! An adversary sees its own core, with the keys in it, and nobody else's: it can sign whatever it likes as itself and nothing as
//! another. It may change, add and take away messages and replies, in either lane; hold them back and let them out at a time of its
//! own choice, or again; and change records, but not how many there are, because a core has counted them.

use crate::core::Protocol;
use crate::effects::Effects;
use crate::time::Time;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::ops::AddAssign;

/// A behaviour of a Byzantine replica, and what it remembers between two turns. It is read from a plan: what it only remembers is
/// to be skipped there.
pub trait Tamper<P: Protocol>: Clone + Debug + DeserializeOwned + Send + 'static {
    /// Rewrites what `core` asks for at the end of a turn, and tells what it has done.
    fn tamper(&mut self, now: Time, core: &P, effects: &mut Effects<P>) -> Tampered;

    /// When it wants to speak unasked: there is a turn at or soon after this time of the node's clock, which must be later than the
    /// last one's.
    fn wake(&self) -> Option<Time> {
        None
    }
}

/// What an adversary did to messages and replies: the evidence that it took effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tampered {
    /// Did not leave, or not yet.
    pub withheld: u64,
    /// Left as something else.
    pub altered: u64,
    /// Left though the core did not ask for it: made up, or said again.
    pub added: u64,
}

impl AddAssign for Tampered {
    fn add_assign(&mut self, other: Tampered) {
        self.withheld += other.withheld;
        self.altered += other.altered;
        self.added += other.added;
    }
}

/// The adversary of protocols that have no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mute {
    /// See [`silence`].
    Silence,
}

impl<P: Protocol> Tamper<P> for Mute {
    fn tamper(&mut self, _now: Time, _core: &P, effects: &mut Effects<P>) -> Tampered {
        match self {
            Mute::Silence => silence(effects),
        }
    }
}

/// Nothing leaves, neither a message nor a reply. Records are written all the same.
pub fn silence<P: Protocol>(effects: &mut Effects<P>) -> Tampered {
    let mut withheld = 0;
    for outbox in [&mut effects.early, &mut effects.durable] {
        withheld += outbox.messages.drain(..).count() + outbox.replies.drain(..).count();
    }
    Tampered { withheld: withheld as u64, ..Tampered::default() }
}
