//! Random entries, whatever they may mean.

use checkers::history::{
    Answer, Call, Entry, FaultEvent, FaultStage, MicroAnswer, MicroCall, Outcome, Phase, ProcessId,
};
use proptest::prelude::*;

/// A call with an outcome that it can have.
fn call_and_outcome() -> impl Strategy<Value = (Call, Outcome)> {
    let key = || 0..5u64;
    let value = any::<u64>;
    let ok = prop_oneof![
        (key(), any::<Option<u64>>()).prop_map(|(key, v)| (Call::Read { key }, Answer::Value(v))),
        (key(), value()).prop_map(|(key, value)| (Call::Write { key, value }, Answer::Done)),
        (key(), value(), value(), any::<bool>())
            .prop_map(|(key, from, to, swapped)| (Call::Cas { key, from, to }, Answer::Swapped(swapped))),
        (key(), value()).prop_map(|(key, value)| (Call::Insert { key, value }, Answer::Done)),
        (key(), any::<u32>(), value())
            .prop_map(|(key, field, value)| (Call::Update { key, field, value }, Answer::Done)),
        (key(), any::<Option<Vec<u64>>>()).prop_map(|(key, v)| (Call::ReadRecord { key }, Answer::Fields(v))),
        (key(), any::<u32>(), any::<u32>())
            .prop_map(|(key, limit, rows)| (Call::Scan { key, limit }, Answer::Rows(rows))),
        (key(), any::<u32>(), value(), any::<Option<Vec<u64>>>()).prop_map(|(key, field, value, v)| (
            Call::ReadModifyWrite { key, field, value },
            Answer::Fields(v)
        )),
        prop::collection::vec(micro(), 1..5).prop_map(|steps| {
            let (calls, answers) = steps.into_iter().unzip();
            (Call::Txn(calls), Answer::Txn(answers))
        }),
    ];
    let end = prop_oneof![
        4 => Just(None),
        1 => ".{0,12}".prop_map(|text| Some(Outcome::Fail(text))),
        1 => ".{0,12}".prop_map(|text| Some(Outcome::Info(text))),
        1 => ".{0,12}".prop_map(|text| Some(Outcome::Ok(Answer::Corrupt(text)))),
    ];
    (ok, end).prop_map(|((call, answer), end)| (call, end.unwrap_or(Outcome::Ok(answer))))
}

fn micro() -> impl Strategy<Value = (MicroCall, MicroAnswer)> {
    let key = || 0..5u64;
    prop_oneof![
        (key(), any::<Vec<u64>>()).prop_map(|(key, v)| (MicroCall::ReadList { key }, MicroAnswer::List(v))),
        (key(), any::<u64>()).prop_map(|(key, value)| (MicroCall::Append { key, value }, MicroAnswer::Done)),
        (key(), any::<Option<u64>>()).prop_map(|(key, v)| (MicroCall::Read { key }, MicroAnswer::Value(v))),
        (key(), any::<u64>()).prop_map(|(key, value)| (MicroCall::Write { key, value }, MicroAnswer::Done)),
    ]
}

fn fault() -> impl Strategy<Value = FaultEvent> {
    let stage = prop::sample::select(vec![
        FaultStage::Installed,
        FaultStage::Skipped,
        FaultStage::Indeterminate,
        FaultStage::Healed,
        FaultStage::NeverBit,
    ]);
    (any::<u32>(), "[a-o]{1,9}", any::<Option<u32>>(), ".{0,9}", stage, ".{0,9}").prop_map(
        |(id, fault, line, targets, stage, detail)| FaultEvent { id, fault, line, targets, stage, detail },
    )
}

/// Entries in which every return ends the invocation before it, at times that may go anywhere.
pub(crate) fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let phase = prop::sample::select(vec![Phase::Load, Phase::Run, Phase::Final]);
    let nodes = (any::<Option<u32>>(), prop::collection::vec(any::<u32>(), 0..4));
    let piece = prop_oneof![
        8 => (any::<(u64, u64, u64)>(), nodes, call_and_outcome(), any::<bool>())
            .prop_map(|((time, intended, end), (to, by), (call, outcome), returns)| {
                let process = ProcessId(0);
                let mut pair = vec![Entry::Invoke { time, intended, process, to, call }];
                if returns {
                    pair.push(Entry::Return { time: end, process, by, outcome });
                }
                pair
            }),
        1 => (any::<u64>(), phase).prop_map(|(time, phase)| vec![Entry::Phase { time, phase }]),
        1 => (any::<u64>(), fault()).prop_map(|(time, event)| vec![Entry::Fault { time, event }]),
        1 => (any::<u64>(), any::<u64>()).prop_map(|(time, uncertainty)| vec![Entry::Clocks { time, uncertainty }]),
        1 => (any::<u64>(), any::<u32>()).prop_map(|(time, process)| {
            vec![Entry::Hostile { time, process: ProcessId(process) }]
        }),
        1 => (any::<u64>(), any::<u32>()).prop_map(|(time, node)| vec![Entry::Liar { time, node }]),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| {
        let numbered = pieces.into_iter().zip(1..).flat_map(|(mut piece, number)| {
            for entry in &mut piece {
                if let Entry::Invoke { process, .. } | Entry::Return { process, .. } = entry {
                    *process = ProcessId(number * 50);
                }
            }
            piece
        });
        numbered.collect()
    })
}
