//! What a protocol core accepts, and what it starts from.

use crate::admin::{AdminReply, AdminRequest};
use crate::adversary::Tamper;
use crate::codec::Wire;
use crate::describe::Describe;
use crate::effects::Effects;
use crate::ids::{ClientId, JournalPosition, ReplicaId};
use crate::snapshot::{SnapshotEvent, SnapshotId};
use crate::status::Status;
use crate::time::Time;
use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hasher};

/// One replica as a deterministic state machine: the same inputs in the same order give the same effects.
///
/// A driver calls in *turns*: any number of `handle_…` calls with everything it has at hand, then one
/// [`Protocol::end_turn`], then it carries out the effects. A core may hold work back until the turn ends:
/// that is where adaptive batching comes from, without a clock.
pub trait Protocol: Clone + Debug + Send + 'static {
    /// Fixed for one life of the replica: who it is, who its peers are, its time-outs and bounds.
    type Config: Clone + Debug + Send + 'static;
    /// From a client.
    type Request: Wire + Debug + Describe + Send + 'static;
    /// To a client.
    type Reply: Wire + Debug + Describe + Send + 'static;
    /// Between replicas.
    type Message: Wire + Debug + Describe + Send + 'static;
    /// A journal entry.
    type Record: Wire + Debug + Send + 'static;
    /// A closed enum of timers.
    type Timer: Copy + Ord + Debug + Send + 'static;
    /// The state in a snapshot: cheap to make, encoded by the driver (perhaps on another thread).
    type Image: Wire + Debug + Send + Sync + 'static;
    /// How a replica of this protocol may lie, if it is told to: [`crate::Mute`] where there is nothing more to say.
    type Adversary: Tamper<Self>;

    /// Starts a life of the replica from what its disk holds: nothing at the very first.
    ///
    /// # Errors
    /// If what the disk holds cannot be a state that this replica was ever in.
    fn recover(
        config: Self::Config,
        seed: u64,
        now: Time,
        disk: Recovered<Self>,
        out: &mut Effects<Self>,
    ) -> Result<Self, RecoverError>;

    /// A client asks. `from` is where replies go.
    fn handle_request(&mut self, now: Time, from: ClientId, request: Self::Request, out: &mut Effects<Self>);

    /// A client's connection is gone: replies to it would be lost.
    fn handle_client_gone(&mut self, now: Time, from: ClientId);

    /// Another replica says something. The driver has authenticated `from`; the content is not to be trusted
    /// further than the protocol's fault model goes.
    fn handle_message(&mut self, now: Time, from: ReplicaId, message: Self::Message, out: &mut Effects<Self>);

    /// A timer's deadline has passed.
    fn handle_timer(&mut self, now: Time, timer: Self::Timer, out: &mut Effects<Self>);

    /// Every record before position `before` is on disk.
    fn handle_durable(&mut self, now: Time, before: JournalPosition, out: &mut Effects<Self>);

    /// The snapshot store answers.
    fn handle_snapshot(&mut self, now: Time, event: SnapshotEvent<Self::Image>, out: &mut Effects<Self>);

    /// An operator asks for other members or another leader.
    fn handle_admin(&mut self, _now: Time, request: AdminRequest, _out: &mut Effects<Self>) -> AdminReply {
        AdminReply::Refused { reason: format!("{request:?}: this protocol has no such thing") }
    }

    /// The driver has nothing more at hand: send what was held back.
    fn end_turn(&mut self, now: Time, out: &mut Effects<Self>);

    /// For people, targets of faults, and checkers of agreement.
    fn status(&self) -> Status;

    /// Of all that decides what the replica does from now on: an explorer knows by it a state that it has seen before. Equal for equal
    /// states within one build. A core whose Debug shows what is only counted for people leaves that out.
    fn fingerprint(&self) -> u64 {
        fingerprint(self)
    }
}

/// Of what a value's Debug shows.
#[must_use]
pub fn fingerprint(value: &impl Debug) -> u64 {
    struct Into(DefaultHasher);
    impl fmt::Write for Into {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut hash = Into(DefaultHasher::new());
    write!(hash, "{value:?}").expect("a hash takes any text");
    hash.0.finish()
}

/// What a replica's disk held when it started.
#[derive(Debug)]
pub struct Recovered<P: Protocol> {
    /// The newest whole snapshot.
    pub snapshot: Option<(SnapshotId, P::Image)>,
    /// What the journal still holds, oldest first, with positions (which need not start at 0).
    pub records: Vec<(JournalPosition, P::Record)>,
}

impl<P: Protocol> Recovered<P> {
    /// A disk that holds nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self { snapshot: None, records: Vec::new() }
    }
}

/// Why a replica cannot start from what its disk holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// The journal's records do not follow from one another, or from the snapshot.
    #[error("journal record {position}: {reason}")]
    Inconsistent {
        /// Which record.
        position: JournalPosition,
        /// What is wrong with it.
        reason: String,
    },
    /// The configuration cannot be run.
    #[error("configuration: {0}")]
    Config(String),
}
