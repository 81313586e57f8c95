//! Exactly-once: the answers that retries get.
//!
//! A client numbers its commands 1, 2, 3, … within a session whose id it chose at random, all but the read-only ones; a
//! retry repeats the number. Of every session the state remembers the last command that was applied, and its answer.
//!
//! | sequence | |
//! |---|---|
//! | the last one | a retry: gets the recorded answer, changes nothing |
//! | above | is applied; what lies between will never be |
//! | below | [`Refusal::SessionExpired`](crate::Refusal::SessionExpired): its answer is forgotten |
//! | of an unknown session, 1 | begins the session |
//! | of an unknown session, not 1 | `SessionExpired` |
//!
//! **What this guarantees.** While a session is remembered, a command of it is applied at most once, however often and
//! however late copies of its request arrive, and whoever retries the last command learns its answer.
//!
//! **Eviction.** At most [`Limits::sessions_max`](crate::Limits::sessions_max) sessions are remembered; beyond that the
//! one whose last command was applied longest ago is forgotten, the same one on every replica that applied the same
//! commands in the same order. (Retries do not count as use: they change nothing.) Of a forgotten session
//! - commands numbered above 1 are refused, so none runs a second time; whether a retried one ran the first time can no
//!   longer be told, and a new one needs a new session;
//! - command 1 cannot be told from the beginning of a new session. A copy of it that arrives after so many *other* sessions
//!   each applied a command runs **a second time**. So `sessions_max` must exceed the number of sessions that are active
//!   within the time a request can be under way: a client's deadline, and the longest delay of the network.
//!
//! The digest covers sessions, sequences and answers, but not the order of last use: a protocol that
//! applies independent commands in different orders agrees on the digest, but on evictions only if none happen.

use crate::digest::{mix, of_response};
use crate::response::Response;
use imbl::OrdMap;
use protocol::{Sequence, SessionId, reached};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// Situations that runs should come across, each marked with [`reached!`] where it arises.
pub const SITUATIONS: &[&str] = &[
    "a retry is answered from the session table",
    "a command is refused as one of a forgotten session",
    "a session is forgotten",
];

/// What is to be done with a command.
pub(crate) enum Admission<'a> {
    /// It is new: apply it, then [`Sessions::record`] the answer.
    New,
    /// It is a retry.
    Answered(&'a Response),
    /// It can no longer be told.
    Expired,
}

/// The sessions, with what it takes to forget the right one.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    table: SessionTable,
    /// By [`Session::used`].
    by_use: BTreeMap<u64, SessionId>,
    sessions_max: usize,
}

/// The part of the sessions that is state. Persistent data: a clone shares structure and costs no copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionTable {
    sessions: OrdMap<SessionId, Session>,
    /// Commands applied in sessions: the clock of [`Session::used`].
    applied: u64,
    digest: u64,
}

#[derive(Clone, Debug)]
struct Session {
    sequence: Sequence,
    /// How many commands had been applied before this session's last one.
    used: u64,
    answer: Response,
    hash: u64,
}

impl Sessions {
    pub(crate) fn new(table: SessionTable, sessions_max: usize) -> Self {
        let by_use = table.sessions.iter().map(|(id, session)| (session.used, *id)).collect();
        // A session must outlive its own command.
        Self { table, by_use, sessions_max: sessions_max.max(1) }
    }

    pub(crate) fn table(&self) -> &SessionTable {
        &self.table
    }

    pub(crate) fn admit(&self, session: SessionId, sequence: Sequence) -> Admission<'_> {
        match self.table.sessions.get(&session) {
            Some(known) if sequence > known.sequence => Admission::New,
            Some(known) if sequence == known.sequence => {
                reached!("a retry is answered from the session table");
                Admission::Answered(&known.answer)
            }
            None if sequence == Sequence(1) => Admission::New,
            Some(_) => Admission::Expired,
            None => {
                reached!("a command is refused as one of a forgotten session");
                Admission::Expired
            }
        }
    }

    pub(crate) fn record(&mut self, id: SessionId, sequence: Sequence, answer: Response) {
        let used = self.table.applied;
        self.table.applied += 1;
        match self.table.insert(id, sequence, used, answer) {
            Some(previously_used) => {
                self.by_use.remove(&previously_used);
            }
            None => self.evict(),
        }
        self.by_use.insert(used, id);
    }

    fn evict(&mut self) {
        while self.table.sessions.len() > self.sessions_max {
            reached!("a session is forgotten");
            let (_, oldest) = self.by_use.pop_first().expect("every other session is listed");
            let forgotten = self.table.sessions.remove(&oldest).expect("what is listed is there");
            self.table.digest = self.table.digest.wrapping_sub(forgotten.hash);
        }
    }
}

impl SessionTable {
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// What the state is: (session, last sequence, its answer), used longest ago first. The numbers of uses only give
    /// the order.
    fn oldest_first(&self) -> impl ExactSizeIterator<Item = (SessionId, Sequence, &Response)> {
        let mut by_use: Vec<_> = self.sessions.iter().collect();
        by_use.sort_unstable_by_key(|(_, session)| session.used);
        by_use.into_iter().map(|(id, session)| (*id, session.sequence, &session.answer))
    }

    /// When the session was last used before.
    fn insert(&mut self, id: SessionId, sequence: Sequence, used: u64, answer: Response) -> Option<u64> {
        let hash = mix(mix(id.0, sequence.0), of_response(&answer));
        self.digest = self.digest.wrapping_add(hash);
        let replaced = self.sessions.insert(id, Session { sequence, used, answer, hash })?;
        self.digest = self.digest.wrapping_sub(replaced.hash);
        Some(replaced.used)
    }
}

impl PartialEq for SessionTable {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.oldest_first().eq(other.oldest_first())
    }
}

/// Encoded as the sequence of [`SessionTable::oldest_first`].
impl Serialize for SessionTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.oldest_first())
    }
}

impl<'de> Deserialize<'de> for SessionTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Triples;
        impl<'de> Visitor<'de> for Triples {
            type Value = SessionTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sessions with their last sequence and answer")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut triples: A) -> Result<SessionTable, A::Error> {
                let mut table = SessionTable::default();
                while let Some((id, sequence, answer)) = triples.next_element()? {
                    let used = table.applied;
                    table.applied += 1;
                    if table.insert(id, sequence, used, answer).is_some() {
                        return Err(A::Error::custom(format_args!("session {id} is there twice")));
                    }
                }
                Ok(table)
            }
        }
        deserializer.deserialize_seq(Triples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(10);
    const B: SessionId = SessionId(11);
    const C: SessionId = SessionId(12);

    /// What [`Sessions::admit`] says, and if it says that the command is new, that it was applied with this answer.
    fn apply(sessions: &mut Sessions, session: SessionId, sequence: u64, answer: u64) -> Option<u64> {
        match sessions.admit(session, Sequence(sequence)) {
            Admission::New => {
                sessions.record(session, Sequence(sequence), Response::Length(answer));
                Some(answer)
            }
            Admission::Answered(Response::Length(recorded)) => Some(*recorded),
            Admission::Answered(other) => panic!("{other:?} was never recorded"),
            Admission::Expired => None,
        }
    }

    fn sessions(sessions_max: usize) -> Sessions {
        Sessions::new(SessionTable::default(), sessions_max)
    }

    #[test]
    fn a_session_begins_at_one_and_answers_its_last_command_again() {
        let mut sessions = sessions(10);
        assert_eq!(apply(&mut sessions, A, 0, 1), None);
        assert_eq!(apply(&mut sessions, A, 2, 1), None);
        assert_eq!(apply(&mut sessions, A, 1, 1), Some(1));
        assert_eq!(apply(&mut sessions, A, 1, 2), Some(1));
        assert_eq!(apply(&mut sessions, A, 5, 3), Some(3));
        assert_eq!(apply(&mut sessions, A, 5, 4), Some(3));
        for skipped in 0..5 {
            assert_eq!(apply(&mut sessions, A, skipped, 5), None);
        }
    }

    #[test]
    fn the_session_whose_last_command_was_applied_longest_ago_is_forgotten() {
        let mut sessions = sessions(2);
        for session in [A, B, A] {
            let next = sessions.table.sessions.get(&session).map_or(1, |known| known.sequence.0 + 1);
            assert_eq!(apply(&mut sessions, session, next, 7), Some(7));
        }
        // A retry is no use, or B would not be the oldest.
        assert_eq!(apply(&mut sessions, B, 1, 8), Some(7));
        assert_eq!(apply(&mut sessions, C, 1, 7), Some(7));
        assert_eq!(apply(&mut sessions, A, 2, 9), Some(7), "A is remembered");
        assert_eq!(apply(&mut sessions, B, 2, 9), None, "B is forgotten");
        assert_eq!((sessions.table.len(), sessions.by_use.len()), (2, 2));
    }

    #[test]
    fn each_situation_is_marked_where_it_arises() {
        drop(protocol::reached::take());
        let mut sessions = sessions(1);
        for (session, sequence) in [(A, 1), (A, 1), (B, 1), (A, 2)] {
            apply(&mut sessions, session, sequence, 1);
        }
        let reached = protocol::reached::take();
        assert_eq!(reached, SITUATIONS.iter().map(|&situation| (situation, 1)).collect());
    }

    /// The limit of the guarantee, as documented above.
    #[test]
    fn only_the_first_command_of_a_forgotten_session_can_run_again() {
        let mut sessions = sessions(1);
        assert_eq!(apply(&mut sessions, A, 1, 1), Some(1));
        assert_eq!(apply(&mut sessions, A, 2, 2), Some(2));
        assert_eq!(apply(&mut sessions, B, 1, 1), Some(1));
        assert_eq!(apply(&mut sessions, A, 2, 3), None);
        assert_eq!(apply(&mut sessions, A, 1, 4), Some(4));
    }

    #[test]
    fn forgetting_leaves_no_trace_in_the_digest() {
        let mut forgetful = sessions(1);
        for session in [A, B, C] {
            apply(&mut forgetful, session, 1, 5);
        }
        let mut only_c = sessions(1);
        apply(&mut only_c, C, 1, 5);
        assert_eq!(forgetful.table, only_c.table);
        assert_eq!(forgetful.table.digest(), only_c.table.digest());
        apply(&mut only_c, C, 2, 5);
        assert_ne!(forgetful.table.digest(), only_c.table.digest());
    }

    #[test]
    fn a_table_with_a_session_twice_is_refused() {
        let mut sessions = sessions(2);
        apply(&mut sessions, A, 1, 5);
        let bytes = protocol::codec::encode(&sessions.table);
        assert!(protocol::codec::decode::<SessionTable>(&bytes).is_ok());
        let twice = [&[2], &bytes[1..], &bytes[1..]].concat();
        assert!(protocol::codec::decode::<SessionTable>(&twice).is_err());
    }
}
