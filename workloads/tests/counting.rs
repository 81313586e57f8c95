//! Sets, counters and banks from generator to verdict, in virtual time: an honest store is never accused, whatever its answers
//! that get lost do later; each way to be dishonest is found.

use checkers::bank::{BankOptions, check_bank};
use checkers::counter::check_counter;
use checkers::history::{
    Answer, Call, Entry, History, MicroAnswer, MicroCall, Outcome, Phase, Posting, ProcessId,
};
use checkers::set::check_set;
use checkers::{CheckResult, Verdict};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;
use workloads::{Generator, Next, Scope, Share, Spec};

const WORKERS: u32 = 8;
const MS: u64 = 1_000_000;

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// Now and then an acknowledged transaction has no effect.
    Lost,
    /// Now and then a transaction takes effect twice.
    Twice,
    /// What is refused takes effect now and then.
    Dirty,
    /// Every fourth worker reads what was there a while ago.
    Stale,
    /// Only the first step of a transaction takes effect at once, the others a while later.
    Torn,
}

/// Lists, as they were and are.
struct Store {
    flaw: Flaw,
    lists: BTreeMap<u64, Vec<u64>>,
    /// Of the last versions: since when, and what.
    versions: Vec<(u64, BTreeMap<u64, Vec<u64>>)>,
    /// Appends to come.
    late: Vec<(u64, MicroCall)>,
}

impl Store {
    fn append(&mut self, step: &MicroCall) {
        if let MicroCall::Append { key, value } = step {
            self.lists.entry(*key).or_default().push(*value);
        }
    }

    /// Lets happen what is late.
    fn advance(&mut self, now: u64) {
        let (due, late): (Vec<_>, Vec<_>) = self.late.drain(..).partition(|(time, _)| *time <= now);
        self.late = late;
        for (_, step) in due {
            self.append(&step);
        }
        if self.flaw == Flaw::Stale && self.versions.last().is_none_or(|(since, _)| since + 4 * MS < now) {
            self.versions.push((now, self.lists.clone()));
            let forget = self.versions.len().saturating_sub(4);
            self.versions.drain(..forget);
        }
    }

    fn run(&mut self, now: u64, worker: u32, steps: &[MicroCall], chance: &mut impl Rng) -> Answer {
        self.advance(now);
        let times = match self.flaw {
            Flaw::Lost if chance.random_bool(0.02) => 0,
            Flaw::Twice if chance.random_bool(0.02) => 2,
            Flaw::None | Flaw::Lost | Flaw::Twice | Flaw::Dirty | Flaw::Stale | Flaw::Torn => 1,
        };
        let is_stale = self.flaw == Flaw::Stale && worker.is_multiple_of(4);
        let answers = steps.iter().enumerate().map(|(at, step)| {
            if let MicroCall::ReadList { key } = step {
                let lists =
                    self.versions.first().filter(|_| is_stale).map_or(&self.lists, |(_, lists)| lists);
                return MicroAnswer::List(lists.get(key).cloned().unwrap_or_default());
            }
            if self.flaw == Flaw::Torn && at > 0 {
                self.late.push((now + chance.random_range(0..2 * MS), step.clone()));
            } else {
                (0..times).for_each(|_| self.append(step));
            }
            MicroAnswer::Done
        });
        Answer::Txn(answers.collect())
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The worker asks something.
    Ask,
    /// What it asked takes effect, and is answered.
    Effect { answered_at: u64 },
    /// The worker hears how it ended.
    End,
    /// What was given up takes effect after all.
    Late { op: usize },
}

/// Runs a workload's phases against such a store.
struct World {
    store: Store,
    /// Whether answers get lost.
    is_lossy: bool,
    chance: Xoshiro256PlusPlus,
    now: u64,
    entries: Vec<Entry>,
    processes: Vec<ProcessId>,
    /// What each worker has open.
    open: Vec<Option<(Call, Outcome)>>,
    /// Transactions that were given up.
    given_up: Vec<Vec<MicroCall>>,
    /// What is late may happen in another phase.
    late: Vec<Reverse<(u64, u32, Event)>>,
    keys_used: u64,
}

impl World {
    fn new(flaw: Flaw, is_lossy: bool, seed: u64) -> Self {
        let store = Store { flaw, lists: BTreeMap::new(), versions: Vec::new(), late: Vec::new() };
        Self {
            store,
            is_lossy,
            chance: Xoshiro256PlusPlus::seed_from_u64(seed),
            now: 0,
            entries: Vec::new(),
            processes: (0..WORKERS).map(ProcessId).collect(),
            open: vec![None; WORKERS as usize],
            given_up: Vec::new(),
            late: Vec::new(),
            keys_used: 0,
        }
    }

    /// Each of the shares has as many of the workers.
    fn phase(&mut self, spec: &Spec, phase: Phase, shares: &[Share], seed: u64, ops_max: u64) {
        let places = u32::try_from(shares.len()).expect("a few");
        let generator = |share: &Share| {
            let (workers, seed) = (WORKERS / places, seed + u64::from(share.index));
            spec.generator(&Scope {
                phase,
                workers,
                seed,
                keys_used: self.keys_used,
                share: *share,
                readers: 3,
            })
        };
        let mut generators: Vec<_> = shares.iter().map(generator).collect();
        self.entries.push(Entry::Phase { time: self.now, phase });
        let mut events: BinaryHeap<_> = self.late.drain(..).collect();
        events.extend((0..WORKERS).map(|worker| Reverse((self.now, worker, Event::Ask))));
        let (mut asked, mut busy) = (0, WORKERS);
        while busy > 0 {
            let Reverse((time, worker, event)) = events.pop().expect("somebody is busy");
            self.now = time;
            match event {
                Event::Ask if asked == ops_max => busy -= 1,
                Event::Ask => match generators[(worker % places) as usize].next(time, worker / places) {
                    Next::Op(call) => {
                        asked += 1;
                        events.extend(self.ask(worker, call, phase));
                    }
                    Next::Pending(_) => events.push(Reverse((time + MS, worker, Event::Ask))),
                    Next::Done => busy -= 1,
                },
                Event::Effect { answered_at } => {
                    let (call, outcome) = self.open[worker as usize].as_mut().expect("it has asked");
                    let Call::Txn(steps) = call else { panic!("{call:?}") };
                    *outcome = Outcome::Ok(self.store.run(time, worker, steps, &mut self.chance));
                    events.push(Reverse((answered_at, worker, Event::End)));
                }
                Event::Late { op } => {
                    let steps = self.given_up[op].clone();
                    self.store.run(time, worker, &steps, &mut self.chance);
                }
                Event::End => {
                    self.end(worker, &mut *generators[(worker % places) as usize], worker / places);
                    let pause = self.chance.random_range(0..MS / 4);
                    events.push(Reverse((time + pause, worker, Event::Ask)));
                }
            }
        }
        self.now += MS;
        self.late = events.into_vec();
    }

    /// A worker asks; gives what comes of it.
    fn ask(&mut self, worker: u32, call: Call, phase: Phase) -> Vec<Reverse<(u64, u32, Event)>> {
        let (time, process) = (self.now, self.processes[worker as usize]);
        let Call::Txn(steps) = &call else { panic!("{call:?}") };
        for step in steps {
            if let MicroCall::Append { key, .. } = step {
                self.keys_used = self.keys_used.max(key + 1);
            }
        }
        let steps = steps.clone();
        self.entries.push(Entry::Invoke { time, intended: time, process, to: None, call: call.clone() });
        let effect = time + self.chance.random_range(1..2 * MS);
        let answered_at = effect + self.chance.random_range(1..MS);
        let fate = if phase == Phase::Run { self.chance.random_range(0..20) } else { 19 };
        let mut events = Vec::new();
        let outcome = match fate {
            0 => {
                if self.store.flaw == Flaw::Dirty {
                    self.given_up.push(steps);
                    events.push(Reverse((effect, worker, Event::Late { op: self.given_up.len() - 1 })));
                }
                events.push(Reverse((answered_at, worker, Event::End)));
                Outcome::Fail("refused".into())
            }
            1 if self.is_lossy => {
                // Half of what gets no answer happens, some of it much later.
                if self.chance.random_bool(0.5) {
                    let later = self.chance.random_range(0..50 * MS);
                    self.given_up.push(steps);
                    events.push(Reverse((
                        effect + later,
                        worker,
                        Event::Late { op: self.given_up.len() - 1 },
                    )));
                }
                events.push(Reverse((time + 3 * MS, worker, Event::End)));
                Outcome::Info("timed out".into())
            }
            _ => {
                events.push(Reverse((effect, worker, Event::Effect { answered_at })));
                Outcome::Info("it is replaced by its effect".into())
            }
        };
        self.open[worker as usize] = Some((call, outcome));
        events
    }

    fn end(&mut self, worker: u32, generator: &mut dyn Generator, slot: u32) {
        let (call, outcome) = self.open[worker as usize].take().expect("it has asked");
        let process = &mut self.processes[worker as usize];
        self.entries.push(Entry::Return {
            time: self.now,
            process: *process,
            by: Vec::new(),
            outcome: outcome.clone(),
        });
        if matches!(outcome, Outcome::Info(_)) {
            process.0 += WORKERS;
        }
        generator.complete(self.now, slot, &call, &outcome);
    }
}

fn spec(yaml: &str) -> Spec {
    serde_yaml::from_str(yaml).expect("a valid workload")
}

fn play(spec: &Spec, flaw: Flaw, seed: u64) -> History {
    // A sum alone cannot tell an amount that counts twice from one whose answer was lost.
    let is_lossy = flaw == Flaw::None || !matches!(spec, Spec::Counter(_));
    let mut world = World::new(flaw, is_lossy, seed);
    let of = [1, 2, 4][seed as usize % 3];
    let shares: Vec<_> = (0..of).map(|index| Share { index, of }).collect();
    world.phase(spec, Phase::Load, &shares[..1], seed, u64::MAX);
    world.phase(spec, Phase::Run, &shares, seed, 1_500);
    world.phase(spec, Phase::Final, &[Share::WHOLE], seed, u64::MAX);
    History::from_entries(world.entries).expect("ops pair")
}

fn judge(spec: &Spec, history: &History) -> CheckResult {
    let minute = Duration::from_secs(60);
    match spec {
        Spec::Set(_) => check_set(history, minute),
        Spec::Counter(_) => check_counter(history, minute),
        Spec::Bank(bank) => {
            let options = BankOptions { accounts: bank.accounts, overdraft: bank.overdraft };
            check_bank(history, &options, minute)
        }
        other @ (Spec::Register(_) | Spec::Append(_) | Spec::Ycsb(_) | Spec::Put(_)) => {
            panic!("{} does not count", other.name())
        }
    }
}

const SPECS: [&str; 7] = [
    "set",
    "set: { sets: 3, elements_per_set: 20, read: 0.5 }",
    "counter",
    "counter: { counters: 2, adds_per_counter: 40, decrement: 0.5, read: 0.4 }",
    "bank",
    "bank: { accounts: 3, transfers_per_bank: 15, read: 0.4, initial: 0 }",
    "bank: { accounts: 2, transfers_per_bank: 30, initial: 20, overdraft: false, read: 0.4 }",
];

#[test]
fn an_honest_store_is_never_accused() {
    let mut recovered = 0.0;
    for yaml in SPECS {
        let spec = spec(yaml);
        for seed in 0..40 {
            let history = play(&spec, Flaw::None, seed);
            let result = judge(&spec, &history);
            assert_eq!(result.verdict, Verdict::Valid, "{yaml}, seed {seed}: {}", result.summary);
            recovered += result.numbers.get("recovered").copied().unwrap_or(0.0);
        }
    }
    assert!(recovered > 1_000.0, "answers that were lost, and whose effect was seen: {recovered}");
}

#[test]
fn a_world_is_decided_by_its_seed() {
    for yaml in SPECS {
        assert_eq!(play(&spec(yaml), Flaw::None, 3), play(&spec(yaml), Flaw::None, 3), "{yaml}");
    }
}

#[test]
fn every_flaw_is_found() {
    for (yaml, flaw, number) in [
        ("set", Flaw::Lost, "lost"),
        ("set", Flaw::Twice, "duplicated"),
        ("set", Flaw::Dirty, "unexpected"),
        ("set", Flaw::Stale, "stale"),
        ("counter", Flaw::Lost, "reads_out_of_bounds"),
        ("counter", Flaw::Twice, "reads_out_of_bounds"),
        ("counter", Flaw::Dirty, "reads_out_of_bounds"),
        ("counter", Flaw::Stale, "reads_out_of_bounds"),
        ("bank", Flaw::Lost, "lost"),
        // Both sides of a transfer count twice, so the sum is right.
        ("bank", Flaw::Twice, "faults"),
        ("bank", Flaw::Dirty, "unexpected"),
        ("bank", Flaw::Stale, "stale"),
        ("bank", Flaw::Torn, "reads_of_wrong_sum"),
    ] {
        let spec = spec(yaml);
        for seed in 0..10 {
            let result = judge(&spec, &play(&spec, flaw, seed));
            assert_eq!(result.verdict, Verdict::Invalid, "{yaml} {flaw:?} {seed}: {}", result.summary);
            assert!(result.evidence.iter().all(|e| e.window.iter().any(|op| op.culprit)), "{yaml} {flaw:?}");
            assert!(result.numbers[number] > 0.0, "{yaml} {flaw:?} {seed}: {:?}", result.numbers);
        }
    }
}

#[test]
fn a_bank_without_overdraft_never_shows_a_negative_balance() {
    let spec = spec(SPECS[6]);
    for seed in 0..20 {
        for op in play(&spec, Flaw::None, seed).ops {
            let Outcome::Ok(Answer::Txn(answers)) = op.outcome else { continue };
            for answer in answers {
                let MicroAnswer::List(ledger) = answer else { continue };
                let balance: i64 = ledger.iter().map(|value| Posting::of(*value).amount).sum();
                assert!(balance >= 0, "seed {seed}: {balance}");
            }
        }
    }
}
