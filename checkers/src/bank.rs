//! Banks: whoever reads all accounts sees each transfer whole or not at all, so the balances always have one sum.
//!
//! An account is a list of [`Posting`]s; a *transfer* is a transaction that appends postings of one number to several
//! accounts. One whose amounts do not cancel out *opens* the bank: their sum is what the bank has. What is judged:
//!
//! 1. every posting of a read is of a transfer that did not fail, on its account, with its amount, and there once;
//! 2. a read has all postings of a transfer or none; an account that is empty after the bank was opened is missing;
//! 3. where balances must not become negative, none is;
//! 4. the transfers that reads see are a set that only grows, in real time: an acknowledged transfer is in all later
//!    reads, and all reads can be put in one order (see `growing/`).
//!
//! From 1, 2 and 4 it follows that every read has the right sum; that it does not is said where it does not.
//!
//! Postings of hostile processes are taken off what was read. Whether a balance that has some may be negative cannot be told.

use crate::evidence::{ListStep, choose, interval, list_steps, window_of, with_outcome};
use crate::growing::{Fault, Growing, Tally, Words};
use crate::history::{Call, History, Op, Outcome, Posting};
use crate::hostile::{self, Elements};
use crate::verdict::{CheckResult, Evidence, Verdict};
use rustc_hash::{FxHashMap, FxHashSet};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The most faults that are shown; all are counted.
const EVIDENCE_MAX: usize = 3;

/// What a bank is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BankOptions {
    /// Accounts of a bank: lists 0 up to this are those of bank 0, and so on.
    pub accounts: u32,
    /// Whether balances may become negative.
    pub overdraft: bool,
}

/// A transfer.
struct Transfer {
    op: u32,
    /// Accounts (from 0 on) and what is added to them.
    sides: Vec<(u64, i64)>,
}

impl Transfer {
    /// What it brings into the bank: 0 but for those that open it.
    fn sum(&self) -> i64 {
        self.sides.iter().map(|(_, amount)| amount).sum()
    }
}

/// A read of all accounts.
struct Read<'a> {
    op: u32,
    /// Without postings of hostile processes.
    accounts: Vec<Cow<'a, [u64]>>,
    /// Balances that are negative, with or without postings of hostile processes: account, balance, with.
    negative: Vec<(u64, i64, bool)>,
}

struct Bank<'a> {
    transfers: FxHashMap<u64, Transfer>,
    /// The numbers of those that bring something in.
    openings: Vec<u64>,
    reads: Vec<Read<'a>>,
    growing: Growing<'a>,
    ops: Vec<u32>,
}

/// What is wrong with a bank, worst first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wrong {
    /// A posting that nobody made, or not on this account, or not of this amount.
    Unexpected { read: u32, account: u64, posting: Posting },
    /// A posting twice on an account.
    Duplicated { read: u32, account: u64, posting: Posting },
    /// A transfer is seen on one account and not on another.
    Torn { read: u32, id: u64, seen: u64, unseen: u64 },
    /// A balance that must not be negative is.
    Negative { read: u32, account: u64, balance: i64 },
    /// The transfers as a set.
    Set(Fault),
}

/// Why a history is none of a bank.
struct Foreign(String);

/// Judges a history of transfers and reads. A checker that takes longer than `deadline` says unknown.
#[must_use]
pub fn check_bank(history: &History, options: &BankOptions, deadline: Duration) -> CheckResult {
    let stop = Instant::now() + deadline;
    let mut banks = match banks(history, u64::from(options.accounts)) {
        Ok(banks) => banks,
        Err(Foreign(why)) => return CheckResult::new("bank", Verdict::Unknown, 0, why),
    };
    let (mut tally, mut judged, mut wrong_sums, mut untold) = (Tally::default(), 0, 0, 0);
    let mut wrong: Vec<(Wrong, u64)> = Vec::new();
    for (number, bank) in &mut banks {
        if Instant::now() >= stop {
            break;
        }
        let faults = bank.judge_reads(options);
        untold += if options.overdraft { 0 } else { bank.untold() };
        wrong_sums +=
            bank.reads.iter().filter(|read| bank.sum(read) != bank.sum_expected(read, history)).count();
        wrong.extend(faults.into_iter().map(|fault| (fault, *number)));
        let (of_bank, faults) = bank.growing.judge();
        tally.add(&of_bank);
        wrong.extend(faults.into_iter().map(|fault| (Wrong::Set(fault), *number)));
        judged += 1;
    }
    wrong.sort_unstable();
    let evidence: Vec<Evidence> = wrong
        .iter()
        .take(EVIDENCE_MAX)
        .map(|(fault, number)| show(history, *number, &banks[number], fault, u64::from(options.accounts)))
        .collect();
    let reads: usize = banks.values().map(|bank| bank.reads.len()).sum();
    let mut doubts = Vec::new();
    if judged < banks.len() {
        doubts.push(format!("out of time with {judged} of {} banks judged", banks.len()));
    } else if tally.stable == 0 {
        doubts.push("no transfer was made and read: there is nothing to judge".to_string());
    } else if tally.unconfirmed > 0 {
        doubts.push(format!(
            "{} acknowledged transfers were never looked for: no read of their bank came later",
            tally.unconfirmed
        ));
    }
    if untold > 0 {
        doubts.push(format!(
            "{untold} negative balances include postings of hostile processes: whose doing they are cannot be told"
        ));
    }
    let (verdict, summary) = match (evidence.first(), doubts.is_empty()) {
        (Some(first), _) => {
            let sums = if wrong_sums > 0 {
                format!("{wrong_sums} of {reads} reads have a wrong sum; ")
            } else {
                String::new()
            };
            (Verdict::Invalid, format!("{sums}{} faults: {}", wrong.len(), first.story))
        }
        (None, false) => (Verdict::Unknown, doubts.join("; ")),
        (None, true) => (
            Verdict::Valid,
            format!(
                "{reads} reads of {} banks see each of {} acknowledged transfers (and {} of unknown outcome) whole, from \
                 its acknowledgement on, and always the same sum",
                banks.len(),
                tally.acknowledged,
                tally.recovered
            ),
        ),
    };
    let mut numbers: BTreeMap<String, f64> =
        tally.numbers().into_iter().map(|(name, count)| (name.to_string(), count as f64)).collect();
    for (name, count) in [
        ("banks", banks.len()),
        ("reads", reads),
        ("reads_of_wrong_sum", wrong_sums),
        ("faults", wrong.len()),
    ] {
        numbers.insert(name.to_string(), count as f64);
    }
    let summary = hostile::said(summary, history);
    CheckResult { numbers, evidence, ..CheckResult::new("bank", verdict, reads as u64, summary) }
}

fn banks(history: &History, accounts: u64) -> Result<BTreeMap<u64, Bank<'_>>, Foreign> {
    let mut banks: BTreeMap<u64, Bank<'_>> = BTreeMap::new();
    let hostile = hostile::elements(history);
    for (position, op) in (0..).zip(&history.ops) {
        let Call::Txn(_) = &op.call else { continue };
        if op.is_hostile {
            continue;
        }
        let mut sides: Vec<(u64, Posting)> = Vec::new();
        let mut read: Vec<Option<&[u64]>> = vec![None; accounts as usize];
        let mut of_bank = None;
        for step in list_steps(op) {
            let (ListStep::Append { key, .. } | ListStep::Read { key, .. }) = step;
            if of_bank.replace(key / accounts).is_some_and(|before| before != key / accounts) {
                return Err(Foreign(format!("transaction {} is on two banks", op.index)));
            }
            match step {
                ListStep::Append { key, value } => {
                    if hostile.get(&key).is_some_and(|hostile| hostile.contains(&value)) {
                        let id = Posting::of(value).id;
                        return Err(Foreign(format!("a hostile process posts the same as transfer {id}")));
                    }
                    sides.push((key % accounts, Posting::of(value)));
                }
                ListStep::Read { list, .. } => read[(key % accounts) as usize] = Some(list),
            }
        }
        // Transactions that say nothing: reads that did not succeed.
        let Some(number) = of_bank else { continue };
        let bank = banks.entry(number).or_insert_with(|| Bank {
            transfers: FxHashMap::default(),
            openings: Vec::new(),
            reads: Vec::new(),
            growing: Growing::new(history),
            ops: Vec::new(),
        });
        bank.ops.push(position);
        bank.add_transfer(position, op, &sides)?;
        if let Some(accounts) = read.iter().copied().collect::<Option<Vec<&[u64]>>>() {
            bank.read(position, number, accounts, &hostile);
        } else if read.iter().any(Option::is_some) {
            return Err(Foreign(format!("transaction {} reads some accounts of a bank, not all", op.index)));
        }
    }
    Ok(banks)
}

impl<'a> Bank<'a> {
    fn add_transfer(&mut self, position: u32, op: &Op, sides: &[(u64, Posting)]) -> Result<(), Foreign> {
        let Some((_, Posting { id, .. })) = sides.first() else { return Ok(()) };
        let distinct: FxHashSet<u64> = sides.iter().map(|(account, _)| *account).collect();
        if sides.iter().any(|(_, posting)| posting.id != *id) || distinct.len() < sides.len() {
            let why = "has postings of several numbers, or two on one account";
            return Err(Foreign(format!("transaction {} {why}: it is no transfer", op.index)));
        }
        if self.growing.addition(position, *id).is_err() {
            return Err(Foreign(format!("two transfers of a bank have the number {id}")));
        }
        let sides = sides.iter().map(|(account, posting)| (*account, posting.amount)).collect();
        let transfer = Transfer { op: position, sides };
        if transfer.sum() != 0 {
            self.openings.push(*id);
        }
        self.transfers.insert(*id, transfer);
        Ok(())
    }

    fn read(&mut self, op: u32, bank: u64, ledgers: Vec<&'a [u64]>, hostile: &Elements) {
        let first = bank * ledgers.len() as u64;
        let (mut accounts, mut negative) = (Vec::with_capacity(ledgers.len()), Vec::new());
        for (account, ledger) in (0..).zip(ledgers) {
            let hostile = hostile.get(&(first + account));
            let is_kept = |value: &&u64| hostile.is_none_or(|hostile| !hostile.contains(value));
            let kept = match ledger.iter().all(|value| is_kept(&value)) {
                true => Cow::Borrowed(ledger),
                false => Cow::Owned(ledger.iter().filter(is_kept).copied().collect()),
            };
            let balance = balance(ledger);
            if balance < 0 {
                negative.push((account, balance, kept.len() < ledger.len()));
            }
            accounts.push(kept);
        }
        let ids = accounts.iter().flat_map(|ledger| ledger.iter().map(|value| Posting::of(*value).id));
        let mut ids: Vec<u64> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        self.growing.read(op, ids);
        self.reads.push(Read { op, accounts, negative });
    }

    fn judge_reads(&self, options: &BankOptions) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        for read in &self.reads {
            let (mut here, mut postings) = (FxHashSet::default(), FxHashSet::default());
            for (account, ledger) in (0..).zip(&read.accounts) {
                postings.clear();
                for posting in ledger.iter().map(|value| Posting::of(*value)) {
                    let transfer = self.transfers.get(&posting.id);
                    if transfer.is_none_or(|transfer| !transfer.sides.contains(&(account, posting.amount))) {
                        wrong.push(Wrong::Unexpected { read: read.op, account, posting });
                    } else if !postings.insert(posting.id) {
                        wrong.push(Wrong::Duplicated { read: read.op, account, posting });
                    } else {
                        here.insert((posting.id, account));
                    }
                }
            }
            for (account, balance, _) in read.negative.iter().filter(|(.., with)| !with && !options.overdraft)
            {
                wrong.push(Wrong::Negative { read: read.op, account: *account, balance: *balance });
            }
            for &(id, seen) in &here {
                let sides = self.transfers[&id].sides.iter().map(|(account, _)| *account);
                // Each torn transfer once: by the first account that has it.
                let (has, lacks): (Vec<u64>, Vec<u64>) =
                    sides.partition(|account| here.contains(&(id, *account)));
                if let Some(unseen) = lacks.first().filter(|_| has[0] == seen) {
                    wrong.push(Wrong::Torn { read: read.op, id, seen, unseen: *unseen });
                }
            }
        }
        wrong
    }

    /// How many negative balances have postings of hostile processes.
    fn untold(&self) -> usize {
        self.reads.iter().flat_map(|read| &read.negative).filter(|(.., with)| *with).count()
    }

    fn sum(&self, read: &Read<'_>) -> i64 {
        read.accounts.iter().map(|ledger| balance(ledger)).sum()
    }

    /// What the bank had: what those transfers brought in that the read saw, or that were acknowledged before.
    fn sum_expected(&self, read: &Read<'_>, history: &History) -> i64 {
        let invoked = history.ops[read.op as usize].invoked;
        let counts = |id: &&u64| {
            let op = &history.ops[self.transfers[*id].op as usize];
            let is_before =
                matches!(op.outcome, Outcome::Ok(_)) && op.returned.is_some_and(|time| time < invoked);
            let mut ledgers = read.accounts.iter();
            is_before || ledgers.any(|ledger| ledger.iter().any(|value| Posting::of(*value).id == **id))
        };
        self.openings.iter().filter(counts).map(|id| self.transfers[id].sum()).sum()
    }

    fn culprits(&self, wrong: &Wrong) -> Vec<u32> {
        let with = |read: u32, id: &u64| {
            let mut culprits: Vec<u32> =
                [read].into_iter().chain(self.transfers.get(id).map(|transfer| transfer.op)).collect();
            culprits.sort_unstable();
            culprits
        };
        match wrong {
            Wrong::Unexpected { read, posting, .. } | Wrong::Duplicated { read, posting, .. } => {
                with(*read, &posting.id)
            }
            Wrong::Torn { read, id, .. } => with(*read, id),
            Wrong::Negative { read, .. } => vec![*read],
            Wrong::Set(fault) => self.growing.culprits(fault),
        }
    }

    fn story(&self, history: &History, number: u64, wrong: &Wrong) -> String {
        let who = |at: u32| {
            let op = &history.ops[at as usize];
            format!("process {} ({})", op.process, interval(op))
        };
        let sums = |read: u32| {
            let read =
                self.reads.iter().find(|other| other.op == read).expect("it is one of the bank's reads");
            let (sum, expected) = (self.sum(read), self.sum_expected(read, history));
            if sum == expected { String::new() } else { format!("; the accounts have {sum}, not {expected}") }
        };
        match wrong {
            Wrong::Unexpected { read, account, posting } => format!(
                "{} read a posting of {:+} (number {}) on account {account} of bank {number} that nobody made there{}",
                who(*read),
                posting.amount,
                posting.id,
                sums(*read)
            ),
            Wrong::Duplicated { read, account, posting } => format!(
                "{} read the posting of {:+} by transfer {} twice on account {account} of bank {number}{}",
                who(*read),
                posting.amount,
                posting.id,
                sums(*read)
            ),
            Wrong::Torn { read, id, seen, unseen } => {
                let transfer = &self.transfers[id];
                let is_missing = transfer.sum() != 0
                    && self.reads.iter().any(|r| r.op == *read && r.accounts[*unseen as usize].is_empty());
                if is_missing {
                    return format!(
                        "{} read bank {number} without account {unseen}, although {} had opened it{}",
                        who(*read),
                        who(transfer.op),
                        sums(*read)
                    );
                }
                format!(
                    "{} saw transfer {id} by {} on account {seen} of bank {number} and not on account {unseen}{}",
                    who(*read),
                    who(transfer.op),
                    sums(*read)
                )
            }
            Wrong::Negative { read, account, balance } => {
                format!("{} read a balance of {balance} on account {account} of bank {number}", who(*read))
            }
            Wrong::Set(fault) => {
                let words = Words { set: format!("bank {number}"), element: &|id| format!("transfer {id}") };
                self.growing.story(fault, &words)
            }
        }
    }
}

fn balance(ledger: &[u64]) -> i64 {
    ledger.iter().map(|value| Posting::of(*value).amount).sum()
}

fn label(op: &Op, accounts: u64) -> String {
    let (mut sides, mut balances) = (Vec::new(), Vec::new());
    for step in list_steps(op) {
        match step {
            ListStep::Append { key, value } => sides.push((key % accounts, Posting::of(value))),
            ListStep::Read { list, .. } => balances.push(balance(list)),
        }
    }
    let words = match sides[..] {
        [(from, Posting { id, amount }), (to, _)] if amount < 0 => {
            format!("transfer {id}: {} from {from} to {to}", -amount)
        }
        [(_, Posting { id, amount }), ..] => format!("transfer {id}: open with {amount} each"),
        [] if balances.is_empty() => "read".to_string(),
        [] => {
            let shown: Vec<String> = balances.iter().map(i64::to_string).collect();
            format!("read → {} = {}", shown.join(" + "), balances.iter().sum::<i64>())
        }
    };
    with_outcome(words, &op.outcome)
}

fn show(history: &History, number: u64, bank: &Bank<'_>, wrong: &Wrong, accounts: u64) -> Evidence {
    let wrong = match wrong {
        Wrong::Set(fault) => Wrong::Set(bank.growing.first_shown(fault)),
        other @ (Wrong::Unexpected { .. }
        | Wrong::Duplicated { .. }
        | Wrong::Torn { .. }
        | Wrong::Negative { .. }) => other.clone(),
    };
    let culprits = bank.culprits(&wrong);
    let chosen = choose(&history.ops, &bank.ops, &culprits, &[]);
    Evidence {
        object: format!("bank {number}"),
        story: bank.story(history, number, &wrong),
        window: window_of(&history.ops, &chosen, &culprits, |op| label(op, accounts)),
        prefixes: Vec::new(),
    }
}
