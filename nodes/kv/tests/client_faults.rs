//! A client against replicas, connections and clocks that do whatever they may do at random: what it says about a
//! command must be true of the state, even after everything that is still under way has taken effect.

use bytes::Bytes;
use kv::{
    Command, LeaderClient, LeaderClientConfig, Limits, Refusal, Reply, Request, Response, Store, Value,
};
use proptest::prelude::*;
use protocol::{ClientCore, ClientEffects, ClientOutcome, ReplicaId, SessionId, Time};
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
}

fn step() -> impl Strategy<Value = Step> {
    let at = || 0..8_usize;
    let replica = || (1..=3_u32).prop_map(ReplicaId);
    let refusal = prop_oneof![
        4 => prop::option::of(replica()).prop_map(|leader| Refusal::NotLeader { leader }),
        2 => Just(Refusal::Busy),
        1 => Just(Refusal::Unavailable("full".to_owned())),
        1 => Just(Refusal::SessionExpired),
        1 => Just(Refusal::Invalid("strange".to_owned())),
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
    ]
}

struct Flight {
    to: ReplicaId,
    request: Request,
}

struct World {
    client: LeaderClient,
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
    /// By command.
    outcomes: Vec<ClientOutcome<Response>>,
}

fn pick<T>(things: &mut Vec<T>, at: usize) -> Option<T> {
    if things.is_empty() { None } else { Some(things.remove(at % things.len())) }
}

fn element(command: usize) -> Bytes {
    Bytes::from(command.to_string())
}

const KEY: Bytes = Bytes::from_static(b"list");

impl World {
    fn new(bound_to: Option<ReplicaId>) -> Self {
        let client = LeaderClient::new(LeaderClientConfig {
            session: SessionId(7),
            replicas: [1, 2, 3].map(ReplicaId).into(),
            bound_to,
            attempt_timeout: Duration::from_millis(100),
            backoff: Duration::from_millis(30),
        });
        let mut world = Self {
            client,
            now: Time::ZERO,
            out: ClientEffects::default(),
            store: Store::new(Limits::default()),
            unsent: Vec::new(),
            sent: Vec::new(),
            lost: Vec::new(),
            replies: Vec::new(),
            reports: Vec::new(),
            sent_to: BTreeSet::new(),
            outcomes: Vec::new(),
        };
        world.submit();
        world
    }

    fn submit(&mut self) {
        let command = Command::Append { key: KEY, element: element(self.outcomes.len()) };
        let deadline = self.now + Duration::from_millis(250);
        self.sent_to.clear();
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
        self.outcomes.extend(self.out.done.take());
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
        match self.store.read(&Command::Read { key: KEY }) {
            Response::Value(Some(Value::List(list))) => list.into_iter().collect(),
            Response::Value(None) => Vec::new(),
            other => panic!("{other:?} is no list"),
        }
    }
}

proptest! {
    #[test]
    fn what_the_client_says_of_a_command_is_true(
        bound in any::<bool>(),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut world = World::new(bound.then_some(ReplicaId(2)));
        for step in steps {
            world.carry_out();
            if world.out.done.is_none() && world.out.wake.is_none() {
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
        let last = world.outcomes.last();
        prop_assert!(matches!(last, Some(ClientOutcome::Answered(_))), "{last:?} in a world without faults");
        let list = world.list();
        for (command, outcome) in world.outcomes.iter().enumerate() {
            let places: Vec<_> = (0..list.len()).filter(|at| list[*at] == element(command)).collect();
            match outcome {
                ClientOutcome::Answered(Response::Length(length)) => {
                    prop_assert_eq!(places, vec![*length as usize - 1], "command {} of {:?}", command, world.outcomes);
                }
                ClientOutcome::Answered(other) => prop_assert!(false, "{other:?} is no answer to an append"),
                ClientOutcome::Failed(_) => {
                    prop_assert!(places.is_empty(), "command {} failed, and is at {:?}", command, places);
                }
                ClientOutcome::Unknown(_) => prop_assert!(places.len() <= 1, "command {command} at {places:?}"),
            }
        }
    }
}
