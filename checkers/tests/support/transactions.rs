//! Histories of transactions on lists that were there: each takes effect at one instant within its interval.

use checkers::history::{Answer, Call, Entry, MicroAnswer, MicroCall, Outcome, Phase, ProcessId};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::HashMap;

/// Clients at work at one time.
const CLIENTS: u64 = 20;
/// Lists in use at one time, and appends after which a fresh one takes a list's place.
const LISTS: u64 = 10;
const APPENDS: u64 = 32;

/// The entries of so many transactions.
pub(crate) fn transactions(count: u64) -> Vec<Entry> {
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(7);
    let mut lists: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut active: Vec<u64> = (0..LISTS).collect();
    let mut key_next = LISTS;
    let mut appended: HashMap<u64, u64> = HashMap::new();
    let mut entries = vec![(0, 0, Entry::Phase { time: 0, phase: Phase::Run })];
    for n in 0..count {
        // A transaction of each client begins every `CLIENTS` instants and ends before its next begins.
        let instant = n * 1000;
        let invoked = instant - chance.random_range(0..CLIENTS * 400).min(instant);
        let returned = instant + chance.random_range(1..CLIENTS * 400);
        let mut calls = Vec::new();
        let mut answers = Vec::new();
        for _ in 0..chance.random_range(1..=4) {
            let slot = chance.random_range(0..active.len());
            let key = active[slot];
            if chance.random_bool(0.5) {
                calls.push(MicroCall::ReadList { key });
                answers.push(MicroAnswer::List(lists.get(&key).cloned().unwrap_or_default()));
                continue;
            }
            let value = appended.entry(key).or_default();
            *value += 1;
            if *value == APPENDS {
                active[slot] = key_next;
                key_next += 1;
            }
            lists.entry(key).or_default().push(*value);
            calls.push(MicroCall::Append { key, value: *value });
            answers.push(MicroAnswer::Done);
        }
        let process = ProcessId(n as u32);
        let invoke =
            Entry::Invoke { time: invoked, intended: invoked, process, to: None, call: Call::Txn(calls) };
        let outcome = Outcome::Ok(Answer::Txn(answers));
        entries.push((invoked, 1, invoke));
        entries.push((returned, 2, Entry::Return { time: returned, process, by: Vec::new(), outcome }));
    }
    entries.sort_by_key(|(time, rank, _)| (*time, *rank));
    entries.into_iter().map(|(.., entry)| entry).collect()
}
