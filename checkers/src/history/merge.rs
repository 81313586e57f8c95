//! One history of what was recorded in several places: the controller's, and that of each host that made load in the run phase.

use super::error::HistoryError;
use super::op::{Entry, Phase, ProcessId};
use super::writer::Writer;
use std::iter::Peekable;

/// What the controller's clock said when another's said something: `at 0` plus what has passed since, which is faster or slower
/// by a little.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeline {
    /// The controller's time, nanoseconds since the run began, when the other clock was at 0.
    pub begin: i64,
    /// By how much the controller's clock is faster: 0.00001 is ten microseconds a second.
    pub skew: f64,
}

impl Timeline {
    /// The controller's time when the other clock was at `time`.
    #[must_use]
    pub fn at(&self, time: u64) -> u64 {
        let gained = (time as f64 * self.skew).round() as i64;
        time.saturating_add_signed(self.begin).saturating_add_signed(gained)
    }
}

/// What one host has recorded of the run phase.
#[derive(Debug)]
pub struct Part<E> {
    /// Its entries, by its own clock and with processes from 0.
    pub entries: E,
    /// How its clock compares with the controller's.
    pub timeline: Timeline,
}

/// Writes the controller's own entries and those of the parts, in the order of time, but for the borders of the run phase: all of the parts
/// is in it, whatever their clocks say.
/// Process `p` of part `i` becomes `first_process + p * parts + i`. `uncertainty`: by how much their times may be off, nanoseconds.
///
/// # Errors
/// Those of the entries; if the history cannot be written.
pub fn merge<E>(
    own: impl Iterator<Item = Result<Entry, HistoryError>>,
    parts: Vec<Part<E>>,
    first_process: u32,
    uncertainty: u64,
    writer: &mut Writer,
) -> Result<(), HistoryError>
where
    E: Iterator<Item = Result<Entry, HistoryError>>,
{
    let count = u32::try_from(parts.len()).expect("a few hosts");
    let translated = (0_u32..).zip(parts).map(|(index, Part { entries, timeline })| {
        let process = move |ProcessId(p): ProcessId| {
            let merged = u64::from(first_process) + u64::from(p) * u64::from(count) + u64::from(index);
            ProcessId(u32::try_from(merged).expect("there are fewer clients than 32 bits can tell"))
        };
        let entries = entries.filter_map(move |entry| match entry {
            Ok(Entry::Invoke { time, intended, process: who, to, call }) => Some(Ok(Entry::Invoke {
                time: timeline.at(time),
                intended: timeline.at(intended),
                process: process(who),
                to,
                call,
            })),
            Ok(Entry::Return { time, process: who, by, outcome }) => {
                Some(Ok(Entry::Return { time: timeline.at(time), process: process(who), by, outcome }))
            }
            Ok(Entry::Hostile { time, process: who }) => {
                Some(Ok(Entry::Hostile { time: timeline.at(time), process: process(who) }))
            }
            // The controller's.
            Ok(Entry::Phase { .. } | Entry::Fault { .. } | Entry::Clocks { .. } | Entry::Liar { .. }) => None,
            Err(error) => Some(Err(error)),
        });
        entries.peekable()
    });
    let mut parts: Vec<Peekable<_>> = translated.collect();
    let mut own = own.peekable();
    writer.push(&Entry::Clocks { time: 0, uncertainty })?;
    let mut running = false;
    loop {
        let earliest = match running {
            true => earliest(&mut parts)?,
            false => None,
        };
        let is_own = match (own.peek(), earliest) {
            (None, None) => return Ok(()),
            // An error comes out as what it is.
            (Some(Err(_)), _) | (Some(_), None) => true,
            (Some(Ok(Entry::Phase { phase: Phase::Final, .. })) | None, Some(_)) => false,
            (Some(Ok(entry)), Some((time, _))) => entry.time() <= time,
        };
        let next = match earliest {
            Some((_, part)) if !is_own => parts[part].next(),
            _ => own.next(),
        };
        let entry = next.expect("it was seen")?;
        running |= matches!(entry, Entry::Phase { phase: Phase::Run, .. });
        writer.push(&entry)?;
    }
}

/// The earliest entry that is next in a part: when, and in which.
fn earliest<E>(parts: &mut [Peekable<E>]) -> Result<Option<(u64, usize)>, HistoryError>
where
    E: Iterator<Item = Result<Entry, HistoryError>>,
{
    let mut earliest = None;
    for (index, part) in parts.iter_mut().enumerate() {
        let time = match part.peek() {
            None => continue,
            Some(Ok(entry)) => entry.time(),
            Some(Err(_)) => return Err(part.next().expect("it was seen").expect_err("it was seen")),
        };
        if earliest.is_none_or(|(least, _)| time < least) {
            earliest = Some((time, index));
        }
    }
    Ok(earliest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Call, Ending, FaultEvent, FaultStage, History, Outcome};

    fn op(process: u32, from: u64, to: u64) -> [Entry; 2] {
        let process = ProcessId(process);
        [
            Entry::Invoke { time: from, intended: from, process, to: None, call: Call::Read { key: 1 } },
            Entry::Return { time: to, process, by: vec![2], outcome: Outcome::Ok(Answer::Value(None)) },
        ]
    }

    fn phase(time: u64, phase: Phase) -> Entry {
        Entry::Phase { time, phase }
    }

    fn merged(own: Vec<Entry>, parts: Vec<(Timeline, Vec<Entry>)>) -> History {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("history.bin");
        let mut writer = Writer::create(&path).expect("the folder is new");
        let parts = parts.into_iter().map(|(timeline, entries)| {
            let entries = entries.into_iter().map(Ok);
            Part { entries, timeline }
        });
        merge(own.into_iter().map(Ok), parts.collect(), 4, 250, &mut writer).expect("they can be written");
        writer.finish().expect("it can be written");
        History::load(&path).expect("it is whole")
    }

    #[test]
    fn what_was_recorded_elsewhere_is_in_the_run_phase_by_the_controllers_clock() {
        let fault = FaultEvent {
            id: 1,
            fault: "kill".into(),
            line: Some(1),
            targets: "n1".into(),
            stage: FaultStage::Installed,
            detail: String::new(),
        };
        let own = [
            vec![phase(0, Phase::Load)],
            op(0, 1, 2).to_vec(),
            vec![
                phase(1_000, Phase::Run),
                Entry::Fault { time: 1_500, event: fault },
                phase(2_000, Phase::Final),
            ],
            op(3, 2_001, 2_002).to_vec(),
        ]
        .concat();
        let [ahead, behind] = [-99_000, 1_000].map(|begin| Timeline { begin, skew: 0.0 });
        let history = merged(
            own,
            vec![
                // One that began a moment before the controller, or so its clock says, and one that ended a moment after.
                (ahead, [vec![phase(99_990, Phase::Run)], op(0, 99_995, 100_400).to_vec()].concat()),
                (
                    behind,
                    [
                        op(0, 300, 700).to_vec(),
                        vec![Entry::Hostile { time: 750, process: ProcessId(1) }],
                        op(1, 800, 1_100).to_vec(),
                    ]
                    .concat(),
                ),
            ],
        );
        assert_eq!((history.ending, history.clock_uncertainty), (Ending::Complete, 250));
        let ops = history.ops.iter().map(|op| (op.process.0, op.phase, op.invoked, op.returned));
        assert_eq!(
            ops.collect::<Vec<_>>(),
            [
                (0, Phase::Load, 1, Some(2)),
                (4, Phase::Run, 995, Some(1_400)),
                (5, Phase::Run, 1_300, Some(1_700)),
                (7, Phase::Run, 1_800, Some(2_100)),
                (3, Phase::Final, 2_001, Some(2_002)),
            ]
        );
        assert_eq!(history.faults[0].0, 1_500);
        assert_eq!(history.hostile, [(1_750, ProcessId(7))]);
        assert!(history.ops.iter().all(|op| op.by == [2]));
        let wide = History::from_entries(op(1, 100, 300)).expect("they pair");
        let wide = History { clock_uncertainty: 150, ..wide }.widened();
        assert_eq!((wide.ops[0].invoked, wide.ops[0].returned), (0, Some(450)));
    }

    #[test]
    fn a_clock_that_is_slower_by_a_little_is_off_by_much_after_a_while() {
        let timeline = Timeline { begin: -500, skew: 1e-5 };
        assert_eq!([timeline.at(0), timeline.at(1_000)], [0, 500]);
        assert_eq!(timeline.at(60_000_000_000), 60_000_000_000 + 600_000 - 500);
    }
}
