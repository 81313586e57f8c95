//! Transactions on sets, counters and banks, written by hand.

use super::build::{Written, at};
use checkers::history::{Answer, Call, MicroAnswer, MicroCall, Outcome, Posting};

fn txn(steps: Vec<(MicroCall, MicroAnswer)>) -> (Call, Outcome) {
    let (calls, answers) = steps.into_iter().unzip();
    (Call::Txn(calls), Outcome::Ok(Answer::Txn(answers)))
}

/// An element is appended to a list.
pub(crate) fn append(key: u64, value: u64) -> (Call, Outcome) {
    txn(vec![(MicroCall::Append { key, value }, MicroAnswer::Done)])
}

/// A list is read.
pub(crate) fn list(key: u64, list: &[u64]) -> (Call, Outcome) {
    txn(vec![(MicroCall::ReadList { key }, MicroAnswer::List(list.to_vec()))])
}

/// An amount is added to counter 1.
pub(crate) fn add(id: u64, amount: i64) -> (Call, Outcome) {
    append(1, Posting { id, amount }.value())
}

/// Counter 1 is read, with this sum.
pub(crate) fn sum(sum: i64) -> (Call, Outcome) {
    list(1, &[Posting { id: 0, amount: sum }.value()])
}

/// A transfer with its sides: account and amount.
pub(crate) fn transfer(id: u64, sides: &[(u64, i64)]) -> (Call, Outcome) {
    let side = |(key, amount): &(u64, i64)| {
        (MicroCall::Append { key: *key, value: Posting { id, amount: *amount }.value() }, MicroAnswer::Done)
    };
    txn(sides.iter().map(side).collect())
}

/// A read of all accounts: each is its postings, number and amount.
pub(crate) fn balances(accounts: &[&[(u64, i64)]]) -> (Call, Outcome) {
    let ledger = |(key, postings): (u64, &&[(u64, i64)])| {
        let values = postings.iter().map(|(id, amount)| Posting { id: *id, amount: *amount }.value());
        (MicroCall::ReadList { key }, MicroAnswer::List(values.collect()))
    };
    txn((0..).zip(accounts).map(ledger).collect())
}

/// Ops one after another, each of a process of its own.
pub(crate) fn in_turn(ops: impl IntoIterator<Item = (Call, Outcome)>) -> Vec<Written> {
    (0..).zip(ops).map(|(n, op)| at(n, 2 * u64::from(n), 2 * u64::from(n) + 1, op)).collect()
}
