//! A bank: money is moved between accounts, and all accounts are read at once. An account is a list to which amounts are
//! appended as [`Posting`]s; its balance is their sum.
//!
//! A transfer is one transaction of two appends, which share the posting's number: whoever reads all accounts sees both or
//! none, and the balances always have the same sum. Banks are retired as lists are, so that reads stay short: a
//! fresh one is *opened* by one transaction that pays into every account, and used once that is acknowledged.
//! Each share of a load has banks of its own: what is certainly in an account, nobody else may take off.
//! With [`Bank::initial`] 0 accounts start empty and nothing has to be opened.

use crate::generator::{Generator, Next, Scope, Share};
use crate::mix::Chance;
use crate::spec::{SpecError, mostly, within};
use crate::values::{Layout, Names};
use checkers::bank::BankOptions;
use checkers::history::{Call, MicroCall, OpKind, Outcome, Posting};
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

/// Options of the bank workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bank {
    /// Accounts of a bank.
    pub accounts: u32,
    /// Transfers after which a fresh bank takes the place of one, so that reads stay short.
    pub transfers_per_bank: u32,
    /// The fraction of ops that read all accounts.
    pub read: f64,
    /// Transfers move 1 to this, uniformly.
    pub amount_max: u32,
    /// What is paid into each account when a bank is opened.
    pub initial: u32,
    /// Whether balances may become negative. Otherwise only money is moved that is certainly there, and a read that shows
    /// a negative balance is wrong.
    pub overdraft: bool,
}

impl Default for Bank {
    fn default() -> Self {
        Self {
            accounts: 5,
            transfers_per_bank: 128,
            read: 0.25,
            amount_max: 10,
            initial: 100,
            overdraft: true,
        }
    }
}

impl Bank {
    /// What its histories are judged by.
    #[must_use]
    pub fn judged_by(&self) -> BankOptions {
        BankOptions { accounts: self.accounts, overdraft: self.overdraft }
    }

    pub(crate) fn validate(&self) -> Result<(), SpecError> {
        let amount_max = Posting::AMOUNT_MAX.unsigned_abs();
        within("accounts", u64::from(self.accounts), 2, 64)?;
        within("transfers_per_bank", u64::from(self.transfers_per_bank), 1, 10_000)?;
        within("amount_max", u64::from(self.amount_max), 1, amount_max)?;
        let initial_min = u64::from(!self.overdraft);
        within("initial", u64::from(self.initial), initial_min, amount_max)?;
        mostly("bank", "read", self.read)
    }

    pub(crate) fn expected_kinds(&self) -> Vec<OpKind> {
        vec![OpKind::Txn]
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout { names: Names::Accounts, value_bytes: 16, fields: 0 }
    }

    /// What opens the bank of this number.
    fn opening(&self, bank: u64, id: u64) -> Call {
        let posting = Posting { id, amount: i64::from(self.initial) };
        let pay = |key| MicroCall::Append { key, value: posting.value() };
        Call::Txn(self.keys(bank).map(pay).collect())
    }

    fn keys(&self, bank: u64) -> std::ops::Range<u64> {
        let accounts = u64::from(self.accounts);
        bank * accounts..(bank + 1) * accounts
    }
}

/// The posting that opens each share's first bank, before the run.
const FIRST_OPENING: u64 = 0;

/// The load phase: the first bank of each share is opened, once. To try again what may have happened would pay twice.
#[derive(Debug)]
pub(crate) struct BankLoad {
    openings: VecDeque<Call>,
}

impl BankLoad {
    pub(crate) fn new(options: &Bank, scope: &Scope) -> Self {
        let firsts = (0..scope.share.of).map(|index| Share { index, ..scope.share }.number(0));
        let openings = firsts.map(|bank| options.opening(bank, FIRST_OPENING));
        Self { openings: if options.initial > 0 { openings.collect() } else { VecDeque::new() } }
    }
}

impl Generator for BankLoad {
    fn next(&mut self, _now_ns: u64, _worker: u32) -> Next {
        self.openings.pop_front().map_or(Next::Done, Next::Op)
    }

    fn complete(&mut self, _now_ns: u64, _worker: u32, _call: &Call, _outcome: &Outcome) {}
}

/// The run phase.
#[derive(Debug)]
pub(crate) struct BankRun {
    options: Bank,
    /// The bank in use.
    bank: u64,
    /// Transfers asked of it.
    issued: u32,
    /// What is certainly in each of its accounts: debits count when they are asked, credits when they are acknowledged.
    certain: Vec<i64>,
    /// Banks whose opening was asked and not answered.
    opening: BTreeSet<u64>,
    /// Banks that are open and not in use yet.
    spare: VecDeque<u64>,
    bank_next: u64,
    id_next: u64,
    share: Share,
    chance: Chance,
}

impl BankRun {
    pub(crate) fn new(options: &Bank, scope: &Scope) -> Self {
        Self {
            options: options.clone(),
            bank: scope.share.number(0),
            issued: 0,
            certain: vec![i64::from(options.initial); options.accounts as usize],
            opening: BTreeSet::new(),
            spare: VecDeque::new(),
            bank_next: 1,
            id_next: FIRST_OPENING + 1,
            share: scope.share,
            chance: Chance::seed_from_u64(scope.seed),
        }
    }

    fn read(&self) -> Call {
        Call::Txn(self.options.keys(self.bank).map(|key| MicroCall::ReadList { key }).collect())
    }

    fn fresh_bank(&mut self) -> u64 {
        self.bank_next += 1;
        self.share.number(self.bank_next - 1)
    }

    fn fresh_id(&mut self) -> u64 {
        self.id_next += 1;
        self.share.number(self.id_next - 1)
    }

    /// Turns to a fresh bank if this one has had its transfers, or opens one in time. `None`: go on with this one.
    fn turn_over(&mut self) -> Option<Call> {
        let (issued, most) = (self.issued, self.options.transfers_per_bank);
        if issued >= most {
            let next =
                if self.options.initial == 0 { Some(self.fresh_bank()) } else { self.spare.pop_front() };
            if let Some(bank) = next {
                self.bank = bank;
                self.issued = 0;
                self.certain.fill(i64::from(self.options.initial));
                return None;
            }
        }
        // One is opened in time. If that takes too long, whoever comes opens another: transfers wait for none.
        let is_due = issued >= most || issued >= most / 2 && self.opening.is_empty();
        if self.options.initial == 0 || !is_due || !self.spare.is_empty() {
            return None;
        }
        let (bank, id) = (self.fresh_bank(), self.fresh_id());
        self.opening.insert(bank);
        Some(self.options.opening(bank, id))
    }

    fn transfer(&mut self) -> Option<Call> {
        let accounts = self.certain.len();
        let amount = i64::from(self.chance.random_range(1..=self.options.amount_max));
        let wanted = self.chance.random_range(0..accounts);
        let to = (wanted + self.chance.random_range(1..accounts)) % accounts;
        let has_money = |from: &usize| *from != to && (self.options.overdraft || self.certain[*from] > 0);
        let from = (0..accounts).map(|step| (wanted + step) % accounts).find(has_money)?;
        let amount = if self.options.overdraft { amount } else { amount.min(self.certain[from]) };
        self.certain[from] -= amount;
        self.issued += 1;
        let id = self.fresh_id();
        let first = self.options.keys(self.bank).start;
        let side = |account: usize, amount| MicroCall::Append {
            key: first + account as u64,
            value: Posting { id, amount }.value(),
        };
        Some(Call::Txn(vec![side(from, -amount), side(to, amount)]))
    }
}

impl Generator for BankRun {
    fn next(&mut self, _now_ns: u64, _worker: u32) -> Next {
        if self.chance.random::<f64>() < self.options.read {
            return Next::Op(self.read());
        }
        let call = self.turn_over().or_else(|| self.transfer());
        // Where no account has money for certain, only reading is left.
        Next::Op(call.unwrap_or_else(|| self.read()))
    }

    fn complete(&mut self, _now_ns: u64, _worker: u32, call: &Call, outcome: &Outcome) {
        let Call::Txn(steps) = call else { unreachable!("a bank does not {call:?}") };
        for step in steps {
            let MicroCall::Append { key, value } = *step else { return };
            let accounts = u64::from(self.options.accounts);
            let (bank, account) = (key / accounts, (key % accounts) as usize);
            if self.opening.remove(&bank) {
                if matches!(outcome, Outcome::Ok(_)) {
                    self.spare.push_back(bank);
                }
                // One that may or may not be open is not used.
                return;
            }
            if bank != self.bank {
                return;
            }
            // A credit is there once it is acknowledged; a debit that failed has taken nothing.
            let Posting { amount, .. } = Posting::of(value);
            match outcome {
                Outcome::Ok(_) => self.certain[account] += amount.max(0),
                Outcome::Fail(_) => self.certain[account] -= amount.min(0),
                Outcome::Info(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkers::history::{Answer, Phase};
    use proptest::prelude::*;
    use rand::Rng;
    use std::collections::{BTreeMap, BTreeSet};

    const SCOPE: Scope =
        Scope { phase: Phase::Run, workers: 8, seed: 3, keys_used: 0, share: Share::WHOLE, readers: 1 };

    /// What was asked, and what became of it.
    type Played = Vec<(Vec<MicroCall>, Outcome)>;

    fn done() -> Outcome {
        Outcome::Ok(Answer::Txn(Vec::new()))
    }

    /// Runs the load phase and then `ops` ops, of which `open` are open at a time; some fail and some get no answer.
    fn play(options: &Bank, seed: u64, open: usize, ops: usize) -> Played {
        let mut played = Vec::new();
        let mut load = BankLoad::new(options, &SCOPE);
        while let Next::Op(Call::Txn(steps)) = load.next(0, 0) {
            load.complete(0, 0, &Call::Txn(steps.clone()), &done());
            played.push((steps, done()));
        }
        let mut generator = BankRun::new(options, &Scope { seed, ..SCOPE });
        let mut fate = Chance::seed_from_u64(!seed);
        let mut queue = Vec::new();
        while played.len() < ops {
            while queue.len() < open {
                let Next::Op(call) = generator.next(0, 0) else { panic!("the run has no end") };
                queue.push(call);
            }
            let call = queue.swap_remove(fate.random_range(0..open));
            let outcome = match fate.random_range(0..10) {
                0 => Outcome::Fail("refused".into()),
                1 => Outcome::Info("timed out".into()),
                _ => done(),
            };
            generator.complete(0, 0, &call, &outcome);
            let Call::Txn(steps) = call else { panic!("a bank does not {call:?}") };
            played.push((steps, outcome));
        }
        played
    }

    fn appends(steps: &[MicroCall]) -> Vec<(u64, Posting)> {
        let append = |step: &MicroCall| match step {
            MicroCall::Append { key, value } => Some((*key, Posting::of(*value))),
            MicroCall::ReadList { .. } | MicroCall::Read { .. } | MicroCall::Write { .. } => None,
        };
        steps.iter().filter_map(append).collect()
    }

    #[test]
    fn reads_come_in_their_fraction_and_transfers_are_even() {
        let options = Bank { accounts: 3, transfers_per_bank: 10_000, read: 0.4, ..Bank::default() };
        let played = play(&options, 1, 1, 20_000);
        let reads = played.iter().filter(|(steps, _)| appends(steps).is_empty()).count();
        assert!((reads as f64 / 20_000.0 - 0.4).abs() < 0.01, "{reads}");
        let mut pairs = BTreeMap::<(u64, u64), usize>::new();
        let mut amounts = BTreeMap::<i64, usize>::new();
        for (steps, _) in &played {
            if let [(from, debit), (to, credit)] = appends(steps)[..] {
                if from < 3 && to < 3 {
                    *pairs.entry((from, to)).or_default() += 1;
                }
                assert_eq!((debit.amount, debit.id), (-credit.amount, credit.id));
                *amounts.entry(credit.amount).or_default() += 1;
            }
        }
        assert_eq!((pairs.len(), amounts.len()), (6, 10), "{pairs:?} {amounts:?}");
        let even = |counts: Vec<usize>| {
            let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
            assert!(most.unwrap_or(0) < least.unwrap_or(0) * 13 / 10, "{counts:?}");
        };
        even(pairs.into_values().collect());
        even(amounts.into_values().collect());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn banks_are_opened_before_they_are_used_and_retired_in_time(
            seed: u64, accounts in 2u32..6, transfers_per_bank in 1u32..30, initial in 0u32..50, open in 1usize..9,
        ) {
            let options = Bank { accounts, transfers_per_bank, initial, ..Bank::default() };
            let keys = |bank: u64| (bank * u64::from(accounts)..(bank + 1) * u64::from(accounts)).collect::<Vec<_>>();
            let mut opened = BTreeSet::new();
            let mut transfers = BTreeMap::<u64, u32>::new();
            let mut ids = BTreeSet::new();
            for (steps, outcome) in play(&options, seed, open, 600) {
                let appended = appends(&steps);
                let bank = match (&appended[..], &steps[0]) {
                    ([], MicroCall::ReadList { key }) => {
                        let bank = key / u64::from(accounts);
                        prop_assert_eq!(steps.len(), accounts as usize, "a read is of all accounts");
                        bank
                    }
                    ([first, ..], _) => first.0 / u64::from(accounts),
                    other => panic!("{other:?}"),
                };
                if appended.is_empty() {
                    prop_assert!(initial == 0 || opened.contains(&bank));
                    continue;
                }
                let id = appended[0].1.id;
                prop_assert!(ids.insert(id), "posting {} twice", id);
                prop_assert!(appended.iter().all(|(_, posting)| posting.id == id));
                if appended.iter().map(|(_, posting)| posting.amount).sum::<i64>() == 0 {
                    prop_assert!(initial == 0 || opened.contains(&bank), "bank {} was never opened", bank);
                    *transfers.entry(bank).or_default() += 1;
                } else {
                    prop_assert_eq!(appended.iter().map(|(key, _)| *key).collect::<Vec<_>>(), keys(bank));
                    prop_assert!(appended.iter().all(|(_, posting)| posting.amount == i64::from(initial)));
                    if matches!(outcome, Outcome::Ok(_)) {
                        opened.insert(bank);
                    }
                }
            }
            prop_assert!(transfers.len() > 1, "no bank was retired: {:?}", transfers);
            prop_assert!(transfers.values().all(|n| *n <= transfers_per_bank), "{:?}", transfers);
        }

        #[test]
        fn without_overdraft_no_order_of_what_may_have_happened_makes_a_balance_negative(seed: u64, open in 1usize..9) {
            let options = Bank { initial: 15, overdraft: false, transfers_per_bank: 40, ..Bank::default() };
            let mut least = BTreeMap::<u64, i64>::new();
            // In the order of answers: every debit that was not refused happened, of the credits only those acknowledged.
            for (steps, outcome) in play(&options, seed, open, 600) {
                for (key, posting) in appends(&steps) {
                    let counts = match outcome {
                        Outcome::Ok(_) => true,
                        Outcome::Info(_) => posting.amount < 0,
                        Outcome::Fail(_) => false,
                    };
                    if counts {
                        *least.entry(key).or_default() += posting.amount;
                    }
                    if posting.amount < 0 && counts {
                        prop_assert!(least[&key] >= 0, "account {} at {}", key, least[&key]);
                    }
                }
            }
        }

        #[test]
        fn the_seed_decides_everything(seed: u64) {
            let options = Bank { transfers_per_bank: 20, ..Bank::default() };
            prop_assert_eq!(play(&options, seed, 4, 200), play(&options, seed, 4, 200));
        }
    }

    #[test]
    fn an_opening_without_an_answer_is_not_waited_for_and_its_bank_not_used() {
        let options = Bank { transfers_per_bank: 2, read: 0.0, ..Bank::default() };
        let mut generator = BankRun::new(&options, &SCOPE);
        let mut next = || match generator.next(0, 0) {
            Next::Op(Call::Txn(steps)) => appends(&steps),
            other @ (Next::Op(_) | Next::Pending(_) | Next::Done) => panic!("{other:?}"),
        };
        let banks: Vec<u64> = (0..6).map(|_| next()[0].0 / 5).collect();
        assert_eq!(banks, [0, 1, 0, 2, 3, 4], "one opening in time, then one for each that comes");
        let open = |bank: u64| options.opening(bank, 99);
        generator.complete(0, 0, &open(1), &Outcome::Info("timed out".into()));
        generator.complete(0, 0, &open(3), &done());
        let Next::Op(Call::Txn(steps)) = generator.next(0, 0) else { panic!("the run has no end") };
        let transfer = appends(&steps);
        assert_eq!((transfer.len(), transfer[0].0 / 5), (2, 3), "the first bank that is open");
    }
}
