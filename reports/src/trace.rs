//! What happened in a simulated run, between replicas and not only at clients: `trace.jsonl` and `accusations.json`.
//!
//! `trace.jsonl` holds one [`Event`] a line, in the order of time: `{"at":1079734000,"what":{"received":{"message":13}}}`.

use crate::stored::read_json;
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// [`Event`], one a line.
pub const TRACE_FILE: &str = "trace.jsonl";
/// A list of [`Accusation`].
pub const ACCUSATIONS_FILE: &str = "accusations.json";

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// True time, nanoseconds since the run began.
    pub at: u64,
    /// What.
    pub what: What,
}

/// What may happen. Replicas are numbered as they are named: 3 is `n3`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// A message leaves.
    Sent {
        /// Its number. A duplicate has one of its own.
        message: u64,
        /// Who sends.
        from: u32,
        /// To whom.
        to: u32,
        /// What sort of message: `append-entries`.
        kind: String,
        /// What it says of itself.
        words: String,
        /// Whether it says nothing but what its receiver has been told by the one of its kind before it, as
        /// heartbeats do.
        repeats: bool,
    },
    /// A message arrives.
    Received {
        /// Its number.
        message: u64,
    },
    /// A message never arrives.
    Lost {
        /// Its number.
        message: u64,
        /// Why.
        why: String,
    },
    /// A client's request arrives.
    Asked {
        /// Where.
        replica: u32,
        /// The history's process that asks, if it is known.
        process: Option<u32>,
        /// The request, shortened.
        words: String,
    },
    /// A replica answers a client.
    Answered {
        /// Who.
        replica: u32,
        /// The answer, shortened.
        words: String,
    },
    /// A replica's life begins.
    Started {
        /// Who.
        replica: u32,
        /// How many records its journal held.
        records: u64,
    },
    /// A replica's life ends.
    Stopped {
        /// Who.
        replica: u32,
        /// Why.
        why: String,
    },
    /// A replica's role or epoch is another one.
    Role {
        /// Who.
        replica: u32,
        /// The role, in the protocol's words.
        role: String,
        /// Term, view or ballot.
        epoch: u64,
        /// Whether it leads.
        leads: bool,
    },
    /// A replica stops for a while, or goes on.
    Paused {
        /// Who.
        replica: u32,
        /// Whether it stops.
        paused: bool,
    },
    /// Records reached the disk.
    Durable {
        /// Whose.
        replica: u32,
        /// All before this one.
        before: u64,
    },
    /// Something said about the whole.
    Note {
        /// What.
        words: String,
    },
}

/// Something found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accusation {
    /// Which check found it.
    pub checker: String,
    /// In words.
    pub what: String,
    /// When it was found, nanoseconds since the run began; `None`: after the end, from what the run left.
    pub at: Option<u64>,
}

/// All that a simulated run says of what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// In the order of time.
    pub events: Vec<Event>,
    /// In the order in which they were found.
    pub accusations: Vec<Accusation>,
}

/// Writes a trace, one event a line.
///
/// # Errors
/// If it cannot be written.
pub fn write_trace(path: &Path, events: impl IntoIterator<Item = Event>) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
    let mut out = BufWriter::new(file);
    for event in events {
        serde_json::to_writer(&mut out, &event).context("our own types have JSON")?;
        out.write_all(b"\n").with_context(|| format!("writing {}", path.display()))?;
    }
    out.flush().with_context(|| format!("writing {}", path.display()))
}

impl Trace {
    /// Reads what a run's folder holds.
    ///
    /// # Errors
    /// If a file is not there, is cut, or holds something else.
    pub fn load(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(TRACE_FILE);
        let file = File::open(&path).with_context(|| format!("reading {TRACE_FILE}"))?;
        let mut lines = BufReader::new(file);
        let mut events: Vec<Event> = Vec::new();
        let mut line = String::new();
        loop {
            line.clear();
            let at = format!("{TRACE_FILE}, line {}", events.len() + 1);
            if lines.read_line(&mut line).context(at.clone())? == 0 {
                break;
            }
            ensure!(line.ends_with('\n'), "{at}: the file was cut here");
            let event: Event = serde_json::from_str(&line).context(at.clone())?;
            let in_order = events.last().is_none_or(|last| last.at <= event.at);
            ensure!(in_order, "{at}: it goes back in time");
            events.push(event);
        }
        Ok(Self { events, accusations: read_json(&dir.join(ACCUSATIONS_FILE))? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::write_json;

    fn kept() -> (tempfile::TempDir, Trace) {
        let dir = tempfile::tempdir().unwrap();
        let event = |at, what| Event { at, what };
        let sent = What::Sent {
            message: 1,
            from: 1,
            to: 2,
            kind: "request-vote".into(),
            words: "RequestVote { term: 1 }\n".into(),
            repeats: false,
        };
        let trace = Trace {
            events: vec![
                event(5, What::Started { replica: 1, records: 0 }),
                event(7, sent),
                event(9, What::Received { message: 1 }),
            ],
            accusations: vec![Accusation {
                checker: "liveness".into(),
                what: "it stalls".into(),
                at: Some(9),
            }],
        };
        write_trace(&dir.path().join(TRACE_FILE), trace.events.clone()).unwrap();
        write_json(&dir.path().join(ACCUSATIONS_FILE), &trace.accusations).unwrap();
        (dir, trace)
    }

    #[test]
    fn a_trace_comes_back_as_it_was_written() {
        let (dir, trace) = kept();
        assert_eq!(Trace::load(dir.path()).unwrap(), trace);
    }

    #[test]
    fn a_trace_that_was_cut_or_turned_around_is_refused_with_its_line() {
        let (dir, _) = kept();
        let path = dir.path().join(TRACE_FILE);
        let whole = std::fs::read_to_string(&path).unwrap();
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            format!("{:#}", Trace::load(dir.path()).unwrap_err())
        };
        let cut = refused(&whole[..whole.len() - 4]);
        assert_eq!(cut, "trace.jsonl, line 3: the file was cut here");
        // Cut inside a line that another was written over.
        assert!(refused(&whole.replacen("\"received\"", "\"rec", 1)).starts_with("trace.jsonl, line 3: "));
        let turned: String = whole.lines().rev().map(|line| format!("{line}\n")).collect();
        assert_eq!(refused(&turned), "trace.jsonl, line 2: it goes back in time");
        std::fs::remove_file(&path).unwrap();
        assert!(format!("{:#}", Trace::load(dir.path()).unwrap_err()).starts_with("reading trace.jsonl: "));
    }
}
