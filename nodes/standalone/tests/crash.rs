//! Crashes at any point: what anybody was shown is there afterwards, and what is there is a prefix of what was done.

mod support;

use bytes::Bytes;
use kv::{Command, Limits, Refusal, Response, Store};
use proptest::prelude::*;
use protocol::{ClientId, Protocol, RequestId, Sequence, SessionId};
use standalone::Options;
use std::collections::BTreeMap;
use support::Host;

#[derive(Clone, Debug)]
enum Step {
    /// One of these sessions asks for something new.
    Ask(u64, Command),
    /// Or repeats what it asked for last.
    Retry(u64),
    EndTurn,
    /// So many records are synced.
    Sync(usize),
    /// The snapshot store is done, well or not.
    FinishSave(bool),
    /// Power is lost, and so many records survive that were not synced.
    Crash(usize),
}

fn command() -> impl Strategy<Value = Command> {
    let key = || "[ab]".prop_map(Bytes::from);
    prop_oneof![
        3 => key().prop_map(|key| Command::Read { key }),
        2 => (key(), "[xyz]{0,3}").prop_map(|(key, value)| Command::Write { key, value: value.into() }),
        2 => (key(), "[xyz]").prop_map(|(key, value)| Command::Append { key, element: value.into() }),
        1 => key().prop_map(|key| Command::Delete { key }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..4_u64, command()).prop_map(|(session, command)| Step::Ask(session, command)),
        1 => (1..4_u64).prop_map(Step::Retry),
        5 => Just(Step::EndTurn),
        4 => (1..5_usize).prop_map(Step::Sync),
        1 => any::<bool>().prop_map(Step::FinishSave),
        1 => (0..4_usize).prop_map(Step::Crash),
    ]
}

/// What an answer shows: so many writes of the history, and this.
#[derive(Debug)]
struct Shown {
    writes: usize,
    result: Result<Response, Refusal>,
}

/// What the node has done, as this test knows it.
#[derive(Debug, Default)]
struct History {
    writes: Vec<(SessionId, Sequence, Command)>,
    /// The last command of each session.
    last: BTreeMap<SessionId, (Sequence, Command)>,
    /// The answers that are due, in order, by session.
    due: BTreeMap<ClientId, Vec<(RequestId, Shown)>>,
}

const LIMITS: Limits = Limits { sessions_max: 100 };

impl History {
    fn store(&self) -> Store {
        let mut store = Store::new(LIMITS);
        for (session, sequence, command) in &self.writes {
            store.apply(*session, *sequence, command).expect("it was applied before");
        }
        store
    }

    fn ask(&mut self, host: &mut Host, session: SessionId, sequence: Sequence, command: Command) {
        let mut store = self.store();
        let is_new = !command.is_read_only() && store.settled(session, sequence).is_none();
        let result = store.apply(session, sequence, &command);
        if is_new {
            self.writes.push((session, sequence, command.clone()));
        }
        let shown = Shown { writes: self.writes.len(), result };
        self.due.entry(ClientId(session.0)).or_default().push((RequestId(sequence.0), shown));
        host.request(session, sequence, command);
    }

    /// Every answer that has left is the one that was due, and shows nothing that a crash could take back.
    fn check_replies(&mut self, host: &mut Host) -> Result<(), TestCaseError> {
        for (client, reply) in host.replies.drain(..) {
            let due = self.due.get_mut(&client).filter(|due| !due.is_empty());
            let (id, shown) = due.map(|due| due.remove(0)).expect("nobody was to be answered");
            prop_assert_eq!(reply.id, id);
            prop_assert_eq!(&reply.result, &shown.result);
            let durable = host.host.durable().0 as usize;
            prop_assert!(shown.writes <= durable, "{:?} left when {} writes were durable", shown, durable);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn nothing_that_was_shown_is_lost(steps in prop::collection::vec(step(), 1..120)) {
        let options = Options { snapshot_every_entries: 5, limits: LIMITS, ..Options::default() };
        let mut host = Host::new(options);
        let mut history = History::default();
        for step in steps {
            match step {
                Step::Ask(session, command) => {
                    let session = SessionId(session);
                    let last = history.last.get(&session).map_or(0, |(sequence, _)| sequence.0);
                    let sequence = Sequence(last + u64::from(!command.is_read_only()));
                    if !command.is_read_only() {
                        history.last.insert(session, (sequence, command.clone()));
                    }
                    history.ask(&mut host, session, sequence, command);
                }
                Step::Retry(session) => {
                    if let Some((sequence, command)) = history.last.get(&SessionId(session)).cloned() {
                        history.ask(&mut host, SessionId(session), sequence, command);
                    }
                }
                Step::EndTurn => host.end_turn(),
                Step::Sync(records) => {
                    // A turn ends before the disk is asked.
                    host.end_turn();
                    host.sync(records);
                }
                Step::FinishSave(works) => {
                    host.end_turn();
                    host.finish_save(works);
                }
                Step::Crash(survivors) => {
                    host = host.crash(survivors);
                    history.writes.truncate(host.host.durable().0 as usize);
                    history.due.clear();
                    // Clients that were not answered ask again or go on; the numbers below tell the store which.
                    let status = host.core().status();
                    prop_assert_eq!(status.state.digest, history.store().digest());
                    prop_assert_eq!(status.state.count as usize, history.writes.len());
                }
            }
            history.check_replies(&mut host)?;
        }
        host.end_turn();
        host.sync(usize::MAX);
        history.check_replies(&mut host)?;
        let unanswered: usize = history.due.values().map(Vec::len).sum();
        prop_assert_eq!(unanswered, 0, "{:?}", history.due);
        prop_assert_eq!(host.core().status().state.digest, history.store().digest());
        // What was discarded is not needed.
        prop_assert_eq!(host.crash(0).core().status().state.digest, history.store().digest());
    }
}
