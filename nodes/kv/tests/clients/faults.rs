//! Clients against replicas, connections and clocks that do whatever they may do at random: what a client says about a
//! command must be true of the state, even after everything that is still under way has taken effect.

use crate::driver::{KvClient, config};
use bytes::Bytes;
use kv::client::ClientConfig;
use kv::{
    Command, LeaderClient, Limits, Matching, MatchingClient, NearestClient, Refusal, Reply, Request,
    Response, Store, Value,
};
use proptest::prelude::*;
use protocol::{ClientEffects, ClientOutcome, Done, ReplicaId, Time};
use std::collections::BTreeSet;
use std::time::Duration;

/// What happens next. Indices count the things that it can happen to, modulo how many there are.
#[derive(Clone, Debug)]
enum Step {
    /// A request leaves the client's machine.
    Send(usize),
    /// A replica refuses a request that it has got.
    Refuse(usize, Refusal),
    /// A replica carries a request out, and answers or not.
    Run(usize, bool),
    /// A replica says that it has lost track of a request, which may yet be carried out.
    LoseTrack(usize),
    /// A request that was lost track of is carried out.
    RunLost(usize),
    /// A reply arrives.
    Deliver(usize),
    /// The connection to a replica breaks.
    Break(ReplicaId),
    /// The client hears of a broken connection.
    Report(usize),
    /// The clock goes on to when the client wants to be woken.
    Wake,
    /// The replica that lies, if there is one, answers a request that it has got, and may yet have it carried out.
    Lie(usize, Result<Response, Refusal>),
}

/// `invalid`: whether a replica that does not lie may call a command invalid that another one does not.
fn step(replicas: u32, invalid: bool) -> impl Strategy<Value = Step> {
    let at = || 0..8_usize;
    let replica = move || (1..=replicas).prop_map(ReplicaId);
    let strange = Refusal::Invalid("strange".to_owned());
    let refusal = prop_oneof![
        4 => prop::option::of(replica()).prop_map(|leader| Refusal::NotLeader { leader }),
        2 => Just(Refusal::Busy),
        1 => Just(Refusal::Unavailable("full".to_owned())),
        1 => Just(Refusal::SessionExpired),
        u32::from(invalid) => Just(strange.clone()),
    ];
    let lie = prop_oneof![
        3 => (1..4_u64).prop_map(|length| Ok(Response::Length(length))),
        1 => Just(Err(Refusal::Busy)),
        1 => Just(Err(Refusal::SessionExpired)),
        1 => Just(Err(strange)),
    ];
    prop_oneof![
        6 => at().prop_map(Step::Send),
        3 => (at(), refusal).prop_map(|(at, refusal)| Step::Refuse(at, refusal)),
        3 => (at(), any::<bool>()).prop_map(|(at, answer)| Step::Run(at, answer)),
        1 => at().prop_map(Step::LoseTrack),
        1 => at().prop_map(Step::RunLost),
        5 => at().prop_map(Step::Deliver),
        1 => replica().prop_map(Step::Break),
        2 => at().prop_map(Step::Report),
        2 => Just(Step::Wake),
        3 => (at(), lie).prop_map(|(at, lie)| Step::Lie(at, lie)),
    ]
}

struct Flight {
    to: ReplicaId,
    request: Request,
}

struct World<C> {
    client: C,
    liar: Option<ReplicaId>,
    now: Time,
    out: ClientEffects<Request, Response>,
    /// What the replicas agree on: they are as one, but for what they say to clients.
    store: Store,
    unsent: Vec<Flight>,
    sent: Vec<Flight>,
    lost: Vec<Request>,
    replies: Vec<(ReplicaId, Reply)>,
    /// Connections broken.
    reports: Vec<ReplicaId>,
    /// Where requests of the command under way were sent.
    sent_to: BTreeSet<ReplicaId>,
    /// Who has replied to the command under way.
    heard: BTreeSet<ReplicaId>,
    submitted: usize,
    /// By command.
    ends: Vec<Done<Response>>,
}

fn pick<T>(things: &mut Vec<T>, at: usize) -> Option<T> {
    if things.is_empty() { None } else { Some(things.remove(at % things.len())) }
}

fn element(command: usize) -> Bytes {
    Bytes::from(command.to_string())
}

const KEY: Bytes = Bytes::from_static(b"list");

impl<C: KvClient> World<C> {
    fn new(client: C, liar: Option<ReplicaId>) -> Self {
        let mut world = Self {
            client,
            liar,
            now: Time::ZERO,
            out: ClientEffects::default(),
            store: Store::new(Limits::default()),
            unsent: Vec::new(),
            sent: Vec::new(),
            lost: Vec::new(),
            replies: Vec::new(),
            reports: Vec::new(),
            sent_to: BTreeSet::new(),
            heard: BTreeSet::new(),
            submitted: 0,
            ends: Vec::new(),
        };
        world.submit();
        world
    }

    fn submit(&mut self) {
        let command = Command::Append { key: KEY, element: element(self.submitted) };
        let deadline = self.now + Duration::from_millis(250);
        self.submitted += 1;
        self.sent_to.clear();
        self.heard.clear();
        self.client.submit(self.now, deadline, command, &mut self.out);
    }

    fn run(&mut self, request: &Request) -> Result<Response, Refusal> {
        self.store.apply(request.session, request.sequence, &request.command)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send(at) => {
                if let Some(flight) = pick(&mut self.unsent, at) {
                    self.sent_to.insert(flight.to);
                    self.sent.push(flight);
                }
            }
            Step::Refuse(at, refusal) => {
                if let Some(Flight { to, request }) = pick(&mut self.sent, at) {
                    self.replies.push((to, Reply { id: request.id, result: Err(refusal) }));
                }
            }
            Step::Run(at, answer) => {
                if let Some(Flight { to, request }) = pick(&mut self.sent, at) {
                    let result = self.run(&request);
                    self.replies.extend(answer.then_some((to, Reply { id: request.id, result })));
                }
            }
            Step::LoseTrack(at) => {
                if let Some(Flight { to, request }) = pick(&mut self.sent, at) {
                    let result = Err(Refusal::Uncertain("deposed".to_owned()));
                    self.replies.push((to, Reply { id: request.id, result }));
                    self.lost.push(request);
                }
            }
            Step::RunLost(at) => {
                if let Some(request) = pick(&mut self.lost, at) {
                    drop(self.run(&request));
                }
            }
            Step::Deliver(at) => {
                if let Some((from, reply)) = pick(&mut self.replies, at) {
                    self.heard.insert(from);
                    self.client.handle_reply(self.now, from, reply, &mut self.out);
                }
            }
            Step::Break(replica) => self.break_connection(replica),
            Step::Report(at) => {
                if let Some(replica) = pick(&mut self.reports, at) {
                    // As things stand now, which may be long after the connection broke.
                    let queued = self.unsent.iter().any(|flight| flight.to == replica);
                    let maybe_sent = queued || self.sent_to.contains(&replica);
                    self.client.handle_unreachable(self.now, replica, maybe_sent, &mut self.out);
                }
            }
            Step::Wake => self.wake(),
            Step::Lie(at, result) => self.lie(at, result),
        }
    }

    fn lie(&mut self, at: usize, result: Result<Response, Refusal>) {
        let there = self.sent.iter().enumerate().filter(|(_, flight)| Some(flight.to) == self.liar);
        let there: Vec<_> = there.map(|(place, _)| place).collect();
        if !there.is_empty() {
            let Flight { to, request } = self.sent.remove(there[at % there.len()]);
            self.replies.push((to, Reply { id: request.id, result }));
            self.lost.push(request);
        }
    }

    fn break_connection(&mut self, replica: ReplicaId) {
        let (sent, others) =
            std::mem::take(&mut self.sent).into_iter().partition(|flight| flight.to == replica);
        self.sent = others;
        self.replies.retain(|(from, _)| *from != replica);
        self.lost.extend(sent.into_iter().map(|flight: Flight| flight.request));
        self.unsent.retain(|flight| flight.to != replica);
        self.reports.push(replica);
    }

    fn wake(&mut self) {
        self.now = self.out.wake.take().expect("a command under way has a deadline");
        self.client.handle_timer(self.now, &mut self.out);
    }

    fn carry_out(&mut self) {
        self.unsent.extend(self.out.send.drain(..).map(|(to, request)| Flight { to, request }));
        if let Some(done) = self.out.done.take() {
            assert_eq!(self.ends.len() + 1, self.submitted, "a second end of one command: {done:?}");
            let by: BTreeSet<_> = done.by.iter().copied().collect();
            assert!(
                by.len() == done.by.len() && by.is_subset(&self.heard),
                "{done:?}, heard {:?}",
                self.heard
            );
            assert!(!matches!(done.outcome, ClientOutcome::Answered(_)) || !by.is_empty(), "{done:?}");
            self.ends.push(done);
        }
    }

    /// A command in a world without faults.
    fn submit_and_serve(&mut self) {
        self.submit();
        self.carry_out();
        while self.out.wake.is_some() {
            for step in [Step::Send(0), Step::Run(0, true), Step::Deliver(0)] {
                self.step(step);
                self.carry_out();
            }
        }
    }

    /// Everything that may yet happen happens.
    fn flush(&mut self) {
        let flights = self.unsent.drain(..).chain(self.sent.drain(..)).map(|flight| flight.request);
        for request in self.lost.drain(..).chain(flights).collect::<Vec<_>>() {
            drop(self.run(&request));
        }
    }

    fn list(&self) -> Vec<Bytes> {
        let response = self.store.read(&Command::Read { key: KEY });
        let Response::Value(value) = response else { panic!("{response:?} is no value") };
        value.map_or_else(Vec::new, |value| {
            let Value::List(list) = value else { panic!("{value:?} is no list") };
            list.into_iter().collect()
        })
    }
}

/// Lets a client live through these steps and comes to an end with it.
fn live<C: KvClient>(client: C, liar: Option<ReplicaId>, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = World::new(client, liar);
    for step in steps {
        world.carry_out();
        if world.out.wake.is_none() {
            world.submit();
            world.carry_out();
        }
        world.step(step);
    }
    world.carry_out();
    while world.out.wake.is_some() {
        world.wake();
        world.carry_out();
    }
    world.flush();
    world.replies.clear();
    // The first may still find that its session is lost.
    world.submit_and_serve();
    world.submit_and_serve();
    let last = world.ends.last();
    let served = last.is_some_and(|done| matches!(done.outcome, ClientOutcome::Answered(_)));
    prop_assert!(served, "{last:?} in a world without faults");
    prop_assert_eq!(world.ends.len(), world.submitted);
    let list = world.list();
    for (command, Done { outcome, .. }) in world.ends.iter().enumerate() {
        let places: Vec<_> = (0..list.len()).filter(|at| list[*at] == element(command)).collect();
        match outcome {
            ClientOutcome::Answered(Response::Length(length)) => {
                prop_assert_eq!(
                    places,
                    vec![*length as usize - 1],
                    "command {} of {:?}",
                    command,
                    world.ends
                );
            }
            ClientOutcome::Answered(other) => prop_assert!(false, "{other:?} is no answer to an append"),
            ClientOutcome::Failed(_) => {
                prop_assert!(places.is_empty(), "command {} failed, and is at {:?}", command, places);
            }
            ClientOutcome::Unknown(_) => prop_assert!(places.len() <= 1, "command {command} at {places:?}"),
        }
    }
    Ok(())
}

fn of(replicas: u32, home: u32, bound: bool) -> ClientConfig {
    config(replicas, ReplicaId(home), bound)
}

fn steps(replicas: u32, invalid: bool) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(replicas, invalid), 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_a_client_that_follows_the_leader_says_is_true(bound: bool, steps in steps(3, true)) {
        live(LeaderClient::new(of(3, 2, bound)), None, steps)?;
    }

    #[test]
    fn what_a_client_near_its_home_says_is_true(bound: bool, steps in steps(3, true)) {
        live(NearestClient::new(of(3, 2, bound)), None, steps)?;
    }

    #[test]
    fn what_a_client_of_equal_answers_says_is_true(equal in 1..=3_usize, steps in steps(3, false)) {
        live(MatchingClient::new(of(3, 1, false), Matching { equal, lies: 0 }), None, steps)?;
    }

    #[test]
    fn what_a_client_of_equal_answers_says_is_true_though_one_replica_lies(
        equal in 2..=3_usize,
        steps in steps(4, false),
    ) {
        let client = MatchingClient::new(of(4, 1, false), Matching { equal, lies: 1 });
        live(client, Some(ReplicaId(4)), steps)?;
    }
}

/// The twin of the last property: whoever believes one answer is lied to.
#[test]
#[should_panic(expected = "is no answer to an append")]
fn whoever_believes_anybody_is_lied_to() {
    let lie = Step::Lie(0, Ok(Response::Done));
    let send = || Step::Send(3);
    let steps = vec![send(), lie, Step::Deliver(0)];
    live(MatchingClient::new(of(4, 1, false), Matching { equal: 1, lies: 0 }), Some(ReplicaId(4)), steps)
        .expect("true");
}
