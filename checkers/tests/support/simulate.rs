//! Histories of registers that were there: clients in virtual time, every op takes effect at one instant within its
//! interval.

use checkers::history::{Answer, Call, Entry, Outcome, Phase, ProcessId};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Simulation {
    pub ops: u64,
    pub clients: u32,
    pub keys: u64,
    /// How many in a hundred ops are reads, and how many cas; the others are writes.
    pub read: u32,
    pub cas: u32,
    /// How many in a thousand writes and cas get no answer. Half of them take effect.
    pub unknown: u32,
    pub seed: u64,
}

/// The longest time between an op's invocation and its effect, and between that and its return, in nanoseconds.
const HOP: u64 = 1_000_000;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Invoke,
    Effect(Option<u64>),
    Return,
}

struct Client {
    process: ProcessId,
    call: Call,
    outcome: Outcome,
}

/// The entries of such a history. Values written to a key are unique.
pub(crate) fn simulate(what: Simulation) -> Vec<Entry> {
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(what.seed);
    let mut entries = vec![Entry::Phase { time: 0, phase: Phase::Run }];
    let mut registers: HashMap<u64, u64> = HashMap::new();
    let mut seen: HashMap<u64, u64> = HashMap::new();
    let mut events = BinaryHeap::new();
    let unused = || Outcome::Info(String::new());
    let mut clients: Vec<Client> = (0..what.clients)
        .map(|n| Client { process: ProcessId(n), call: Call::Read { key: 0 }, outcome: unused() })
        .collect();
    for client in 0..what.clients as usize {
        events.push(Reverse((chance.random_range(0..HOP), client, Event::Invoke)));
    }
    let (mut issued, mut written, mut processes) = (0, 0, what.clients);
    while let Some(Reverse((time, at, event))) = events.pop() {
        let client = &mut clients[at];
        let process = client.process;
        match event {
            Event::Invoke if issued == what.ops => {}
            Event::Invoke => {
                issued += 1;
                written += 1;
                let key = chance.random_range(0..what.keys);
                let dice = chance.random_range(0..100);
                client.call = match seen.get(&key) {
                    _ if dice < what.read => Call::Read { key },
                    Some(from) if dice < what.read + what.cas => Call::Cas { key, from: *from, to: written },
                    _ => Call::Write { key, value: written },
                };
                entries.push(Entry::Invoke {
                    time,
                    intended: time,
                    process,
                    to: None,
                    call: client.call.clone(),
                });
                let effect = time + chance.random_range(1..HOP);
                let is_unknown = dice >= what.read && chance.random_range(0..1000) < what.unknown;
                if is_unknown {
                    // The client goes on as another process; the op may still happen, much later.
                    let effect = chance.random_bool(0.5).then(|| effect + chance.random_range(0..20 * HOP));
                    if let Some(effect) = effect {
                        let call = client.call.clone();
                        clients.push(Client { process, call, outcome: unused() });
                        events.push(Reverse((effect, clients.len() - 1, Event::Effect(None))));
                    }
                    let given_up = time + 2 * HOP;
                    events.push(Reverse((given_up, at, Event::Return)));
                    clients[at].outcome = Outcome::Info("timed out".to_string());
                } else {
                    events.push(Reverse((
                        effect,
                        at,
                        Event::Effect(Some(effect + chance.random_range(1..HOP))),
                    )));
                }
            }
            Event::Effect(returns) => {
                let answer = match client.call {
                    Call::Read { key } => Answer::Value(registers.get(&key).copied()),
                    Call::Write { key, value } => {
                        registers.insert(key, value);
                        Answer::Done
                    }
                    Call::Cas { key, from, to } => {
                        let is_there = registers.get(&key) == Some(&from);
                        if is_there {
                            registers.insert(key, to);
                        }
                        Answer::Swapped(is_there)
                    }
                    ref other @ (Call::Txn(_)
                    | Call::Insert { .. }
                    | Call::Update { .. }
                    | Call::ReadRecord { .. }
                    | Call::Scan { .. }
                    | Call::ReadModifyWrite { .. }) => panic!("{other:?}"),
                };
                client.outcome = Outcome::Ok(answer);
                if let Some(returns) = returns {
                    events.push(Reverse((returns, at, Event::Return)));
                }
            }
            Event::Return => {
                let outcome = std::mem::replace(&mut client.outcome, unused());
                match (&client.call, &outcome) {
                    (Call::Read { key }, Outcome::Ok(Answer::Value(Some(value))))
                    | (Call::Write { key, value }, Outcome::Ok(Answer::Done))
                    | (Call::Cas { key, to: value, .. }, Outcome::Ok(Answer::Swapped(true))) => {
                        seen.insert(*key, *value);
                    }
                    _ => {}
                }
                if matches!(outcome, Outcome::Info(_)) {
                    client.process = ProcessId(processes);
                    processes += 1;
                }
                entries.push(Entry::Return { time, process, by: Vec::new(), outcome });
                events.push(Reverse((time + chance.random_range(1..HOP / 4), at, Event::Invoke)));
            }
        }
    }
    entries
}
