//! Whether everything was read once more in the end, from every replica that must answer for itself: what a system has lost shows in
//! the final reads or nowhere.

use crate::history::{Call, History, Op, Outcome, Phase};
use std::collections::{BTreeMap, BTreeSet};

/// What lacks of the final reads, in words; nothing if each was answered, and by each of `nodes`. Nodes whose replicas lie need not
/// answer.
#[must_use]
pub fn unread(history: &History, nodes: &[u32]) -> Vec<String> {
    let reads: Vec<&Op> =
        history.ops.iter().filter(|op| op.phase == Phase::Final && !op.is_hostile).collect();
    let is_answered = |op: &Op| matches!(op.outcome, Outcome::Ok(_));
    let mut asked: BTreeMap<&Call, bool> = BTreeMap::new();
    for op in &reads {
        *asked.entry(&op.call).or_default() |= is_answered(op);
    }
    let all = asked.len();
    if all == 0 {
        return vec!["there was no final read".into()];
    }
    let mut lacking = Vec::new();
    let unanswered = asked.values().filter(|answered| !**answered).count();
    if unanswered > 0 {
        lacking.push(format!("{unanswered} of {all} final reads were never answered"));
    }
    // Histories of a time when nobody wrote down who was asked are judged as they were.
    let is_told = reads.iter().any(|op| op.to.is_some() || !op.by.is_empty());
    for node in
        nodes.iter().filter(|_| is_told).filter(|node| !history.liars.iter().any(|(_, liar)| liar == *node))
    {
        let answered: BTreeSet<&Call> =
            reads.iter().filter(|op| is_answered(op) && op.by.contains(node)).map(|op| &op.call).collect();
        if answered.len() < all {
            let is_asked = !answered.is_empty() || reads.iter().any(|op| op.to == Some(*node));
            lacking.push(match is_asked {
                false => format!("n{node} was never asked for a final read"),
                true => format!("n{node} answered {} of {all} final reads", answered.len()),
            });
        }
    }
    lacking
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Entry, ProcessId};

    /// A process's read of a register in the end: which, of whom, answered or not.
    type Asked = (u32, u64, Option<u32>, bool);

    fn lacking(reads: &[Asked], nodes: &[u32], more: &[Entry]) -> Vec<String> {
        let phase = Entry::Phase { time: 1, phase: Phase::Final };
        let reads = reads.iter().flat_map(|&(process, key, node, is_answered)| {
            let process = ProcessId(process);
            let outcome = match is_answered {
                true => Outcome::Ok(Answer::Value(None)),
                false => Outcome::Info("timed out".into()),
            };
            let by = node.filter(|_| is_answered).into_iter().collect();
            let call = Call::Read { key };
            [
                Entry::Invoke { time: 2, intended: 2, process, to: node, call },
                Entry::Return { time: 3, process, by, outcome },
            ]
        });
        let entries = [phase].into_iter().chain(reads).chain(more.iter().cloned());
        unread(&History::from_entries(entries).expect("they pair"), nodes)
    }

    #[test]
    fn a_read_may_be_answered_to_anybody_but_must_be_answered() {
        assert_eq!(lacking(&[], &[], &[]), ["there was no final read"]);
        let lost = (1, 1, None, false);
        assert_eq!(lacking(&[lost], &[], &[]), ["1 of 1 final reads were never answered"]);
        assert_eq!(lacking(&[lost, (2, 1, None, true)], &[], &[]), Vec::<String>::new());
        let hostile = Entry::Hostile { time: 0, process: ProcessId(2) };
        assert_eq!(
            lacking(&[lost, (2, 1, None, true)], &[], &[hostile]),
            ["1 of 1 final reads were never answered"],
            "what a hostile process was answered is nobody's business"
        );
    }

    #[test]
    fn every_node_that_is_named_must_have_answered_every_read() {
        let all =
            [(1, 1, Some(1), true), (2, 2, Some(1), true), (3, 1, Some(2), true), (4, 2, Some(2), true)];
        assert_eq!(lacking(&all, &[1, 2], &[]), Vec::<String>::new());
        assert_eq!(lacking(&all, &[1, 2, 3], &[]), ["n3 was never asked for a final read"]);
        let mut partly = all;
        partly[3].3 = false;
        assert_eq!(lacking(&partly, &[1, 2], &[]), ["n2 answered 1 of 2 final reads"]);
        partly[2].3 = false;
        assert_eq!(lacking(&partly, &[2], &[]), ["n2 answered 0 of 2 final reads"]);
        assert_eq!(lacking(&partly, &[2], &[Entry::Liar { time: 0, node: 2 }]), Vec::<String>::new());
    }

    #[test]
    fn what_only_a_liar_has_answered_is_not_answered() {
        let liar = [Entry::Liar { time: 2, node: 1 }];
        let lacking = lacking(&[(1, 1, Some(1), true)], &[1], &liar);
        assert_eq!(lacking, ["1 of 1 final reads were never answered"]);
    }
}
