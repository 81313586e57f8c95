//! The sans-IO client: the simulator and the real load generator run the same one.

use crate::ids::ReplicaId;
use crate::time::Time;
use std::fmt::Debug;

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientOutcome<R> {
    /// The system answered.
    Answered(R),
    /// It certainly had no effect and never will.
    Failed(String),
    /// It may or may not have taken effect, and still may.
    Unknown(String),
}

/// The end of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done<R> {
    /// What became of it.
    pub outcome: ClientOutcome<R>,
    /// The replicas whose replies the outcome rests on: those that gave the answer; for a failure those that refused. Empty if it
    /// rests on none.
    pub by: Vec<ReplicaId>,
}

/// What one step of a client asks of its driver.
#[derive(Debug)]
pub struct ClientEffects<Q, R> {
    /// Requests to send, in order. The driver connects where it must and drops what it cannot send,
    /// saying so with [`ClientCore::handle_unreachable`].
    pub send: Vec<(ReplicaId, Q)>,
    /// The command that was submitted is over.
    pub done: Option<Done<R>>,
    /// Call [`ClientCore::handle_timer`] at this time; replaces what was asked for before.
    pub wake: Option<Time>,
}

impl<Q, R> Default for ClientEffects<Q, R> {
    fn default() -> Self {
        Self { send: Vec::new(), done: None, wake: None }
    }
}

impl<Q, R> ClientEffects<Q, R> {
    /// The replica that is asked, if that is one: of a command that has just been submitted, the first.
    #[must_use]
    pub fn asked(&self) -> Option<ReplicaId> {
        match &self.send[..] {
            [(replica, _)] => Some(*replica),
            [] | [_, _, ..] => None,
        }
    }
}

/// One logical client: at most one command at a time, retried until it is answered or out of time.
pub trait ClientCore {
    /// What to run.
    type Command: Clone + Debug;
    /// What goes to a replica.
    type Request;
    /// What a replica says.
    type Reply;
    /// What the caller gets.
    type Response;

    /// Begins a command, to be over by `deadline`.
    ///
    /// # Panics
    /// If the last one is not over.
    fn submit(
        &mut self,
        now: Time,
        deadline: Time,
        command: Self::Command,
        out: &mut ClientEffects<Self::Request, Self::Response>,
    );

    /// A replica answers (perhaps something asked long ago).
    fn handle_reply(
        &mut self,
        now: Time,
        from: ReplicaId,
        reply: Self::Reply,
        out: &mut ClientEffects<Self::Request, Self::Response>,
    );

    /// The connection to a replica is gone or cannot be made; what was not sent never will be. `maybe_sent`: a request
    /// of the command under way may have reached the replica, as things stand at this call and whatever connection it
    /// went over. (A client takes `false` for proof that its attempts there had no effect.)
    fn handle_unreachable(
        &mut self,
        now: Time,
        replica: ReplicaId,
        maybe_sent: bool,
        out: &mut ClientEffects<Self::Request, Self::Response>,
    );

    /// The time that was asked for with [`ClientEffects::wake`] has come.
    fn handle_timer(&mut self, now: Time, out: &mut ClientEffects<Self::Request, Self::Response>);
}
