//! A history of which files are kept in `tests/data`, one of each version of the format.

use crate::support::build::MS;
use checkers::history::{
    Answer, Call, Entry, FaultEvent, FaultStage, MicroAnswer, MicroCall, Outcome, Phase, Posting, ProcessId,
};

/// An op without its process: when it was asked and answered (milliseconds), what, and how it ended.
type Asked = (u64, u64, Call, Outcome);

/// What every version of the file can hold: all calls, answers, outcomes, phases and stages.
pub(crate) fn first() -> Vec<Entry> {
    let phase = |time: u64, phase| vec![Entry::Phase { time: time * MS, phase }];
    let fault = |time: u64, id, stage, detail: &str| {
        let (fault, targets, detail) = ("kill".into(), "n1".into(), detail.into());
        vec![Entry::Fault {
            time: time * MS,
            event: FaultEvent { id, fault, line: None, targets, stage, detail },
        }]
    };
    let mut process = 0;
    let mut op = |(from, to, call, outcome): Asked| {
        process += 1;
        let process = ProcessId(process);
        let invoke = Entry::Invoke { time: from * MS, intended: from * MS - 5, process, to: None, call };
        vec![invoke, Entry::Return { time: to * MS, process, by: Vec::new(), outcome }]
    };
    let ok = Outcome::Ok;
    let done = || Outcome::Ok(Answer::Done);
    let mut entries = vec![vec![Entry::Clocks { time: 0, uncertainty: 250 }], phase(1, Phase::Load)];
    for asked in [
        (2, 3, Call::Insert { key: 100, value: 7 }, done()),
        (4, 5, Call::Write { key: 1, value: 1 }, done()),
    ] {
        entries.push(op(asked));
    }
    entries.push(phase(10, Phase::Run));
    for asked in [
        (11, 12, Call::Read { key: 1 }, ok(Answer::Value(Some(1)))),
        (13, 14, Call::Write { key: 1, value: 2 }, done()),
        // Stale.
        (15, 16, Call::Read { key: 1 }, ok(Answer::Value(Some(1)))),
        (17, 18, Call::Cas { key: 2, from: 1, to: 3 }, ok(Answer::Swapped(false))),
        (19, 20, Call::Write { key: 3, value: 4 }, Outcome::Info("timed out".into())),
        (21, 22, Call::Cas { key: 3, from: 4, to: 5 }, ok(Answer::Swapped(true))),
        (23, 24, Call::Read { key: 4 }, ok(Answer::Value(None))),
        (25, 26, Call::Read { key: 5 }, Outcome::Fail("refused".into())),
        (27, 28, Call::Read { key: 5 }, ok(Answer::Corrupt("9 bytes".into()))),
        (29, 30, Call::Update { key: 100, field: 1, value: 8 }, done()),
        (31, 32, Call::ReadRecord { key: 100 }, ok(Answer::Fields(Some(vec![7, 8])))),
        (33, 34, Call::ReadRecord { key: 101 }, ok(Answer::Fields(None))),
        (
            35,
            36,
            Call::ReadModifyWrite { key: 100, field: 0, value: 9 },
            ok(Answer::Fields(Some(vec![7, 8]))),
        ),
        (37, 38, Call::Scan { key: 100, limit: 3 }, ok(Answer::Rows(1))),
        (
            39,
            40,
            Call::Txn(vec![MicroCall::Write { key: 6, value: 10 }, MicroCall::Read { key: 6 }]),
            ok(Answer::Txn(vec![MicroAnswer::Done, MicroAnswer::Value(Some(10))])),
        ),
    ] {
        entries.push(op(asked));
    }
    entries.push(fault(41, 1, FaultStage::Installed, "pid 7"));
    for (from, to, transfer, outcome) in [
        (42, 43, [(20, 1, 10), (21, 1, 10)], ok(Answer::Txn(vec![MicroAnswer::Done; 2]))),
        (44, 45, [(20, 2, -3), (21, 2, 3)], Outcome::Info("timed out".into())),
        (46, 47, [(20, 3, -1), (21, 3, 1)], Outcome::Fail("refused".into())),
    ] {
        let append = |(key, id, amount)| MicroCall::Append { key, value: Posting { id, amount }.value() };
        entries.push(op((from, to, Call::Txn(transfer.map(append).into()), outcome)));
    }
    entries.push(fault(48, 1, FaultStage::Healed, "pid 7 is gone"));
    entries.push(fault(49, 2, FaultStage::Skipped, "nobody leads"));
    entries.push(phase(50, Phase::Final));
    let list = |postings: [(u64, i64); 2]| {
        MicroAnswer::List(postings.map(|(id, amount)| Posting { id, amount }.value()).into())
    };
    let reads = [20, 21].map(|key| MicroCall::ReadList { key });
    let seen = [list([(1, 10), (2, -3)]), list([(1, 10), (2, 3)])];
    entries.push(op((51, 52, Call::Txn(reads.into()), ok(Answer::Txn(seen.into())))));
    entries.concat()
}

/// What version 2 can hold beyond that.
pub(crate) fn second() -> Vec<Entry> {
    let mut entries = first();
    for entry in &mut entries {
        match entry {
            Entry::Invoke { process, to, .. } => *to = (process.0 % 3 > 0).then_some(process.0 % 3),
            Entry::Return { process, by, .. } => *by = (1..=process.0 % 3).collect(),
            Entry::Fault { event, .. } => event.line = Some(event.id),
            Entry::Phase { .. } | Entry::Clocks { .. } | Entry::Hostile { .. } | Entry::Liar { .. } => {}
        }
    }
    let hostile = Entry::Hostile { time: 10 * MS, process: ProcessId(5) };
    let liar = Entry::Liar { time: 41 * MS, node: 300 };
    entries.extend([hostile, liar]);
    entries.sort_by_key(Entry::time);
    entries
}
