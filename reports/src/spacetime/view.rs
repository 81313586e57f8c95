//! What of a run lies in an excerpt.

use super::excerpt::culprits;
use crate::measure::span::Span;
use crate::text::cut;
use crate::trace::{Event, What};
use checkers::CheckResult;
use checkers::history::{Call, MicroCall, Op};
use std::collections::{BTreeMap, BTreeSet};

/// What is to be drawn.
#[derive(Clone, Debug)]
pub(super) struct View<'a> {
    pub(super) span: Span,
    pub(super) replicas: Vec<u32>,
    pub(super) messages: Vec<Message<'a>>,
    /// When each replica was not up and running, in the order of time.
    pub(super) absences: Vec<Absence<'a>>,
    /// When each replica led, in the order of time.
    pub(super) reigns: Vec<Reign>,
    pub(super) turns: Vec<Turn>,
    /// When something reached whose disk, and all before which record.
    pub(super) durable: Vec<(u32, u64, u64)>,
    pub(super) ops: Vec<ClientOp>,
}

/// A message that was under way at some time in the excerpt.
#[derive(Clone, Debug)]
pub(super) struct Message<'a> {
    pub(super) number: u64,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) kind: &'a str,
    pub(super) words: &'a str,
    pub(super) repeats: bool,
    pub(super) sent: u64,
    pub(super) fate: Fate<'a>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate<'a> {
    Received(u64),
    Lost(u64, &'a str),
    /// The run ended first.
    UnderWay,
}

/// A replica stops, starts, is paused or goes on.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) replica: u32,
    pub(super) at: u64,
    pub(super) kind: TurnKind,
    pub(super) words: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnKind {
    Stops,
    Starts,
    /// Or goes on.
    Pauses,
}

/// A time without a replica.
#[derive(Clone, Debug)]
pub(super) struct Absence<'a> {
    pub(super) replica: u32,
    pub(super) span: Span,
    /// Why it is down; `None` if it is only paused.
    pub(super) down: Option<&'a str>,
}

/// A time in which a replica took itself for the leader.
#[derive(Clone, Debug)]
pub(super) struct Reign {
    pub(super) replica: u32,
    pub(super) span: Span,
    /// Term, view or ballot.
    pub(super) epoch: u64,
    /// In the protocol's words.
    pub(super) role: String,
}

/// A client's op at the replica that it was sent to last.
#[derive(Clone, Debug)]
pub(super) struct ClientOp {
    pub(super) replica: u32,
    pub(super) invoked: u64,
    /// `None`: not before the run's end.
    pub(super) returned: Option<u64>,
    pub(super) label: String,
    pub(super) title: String,
    pub(super) culprit: bool,
}

impl<'a> View<'a> {
    pub(super) fn of(
        events: &'a [Event],
        ops: &[Op],
        checks: &[CheckResult],
        replicas: u32,
        span: Span,
    ) -> Self {
        let mut turns = Vec::new();
        let mut durable = Vec::new();
        for event in events.iter().filter(|event| span.contains(event.at)) {
            let at = event.at;
            match &event.what {
                What::Durable { replica, before } => durable.push((*replica, at, *before)),
                What::Started { replica, records } => {
                    let words = match records {
                        0 => "starts".to_owned(),
                        1 => "starts with 1 record".to_owned(),
                        more => format!("starts with {more} records"),
                    };
                    turns.push(Turn { replica: *replica, at, kind: TurnKind::Starts, words });
                }
                What::Stopped { replica, why } => {
                    let words = format!("stops: {why}");
                    turns.push(Turn { replica: *replica, at, kind: TurnKind::Stops, words });
                }
                What::Paused { replica, paused } => {
                    let words = if *paused { "is paused" } else { "goes on" }.to_owned();
                    turns.push(Turn { replica: *replica, at, kind: TurnKind::Pauses, words });
                }
                What::Sent { .. }
                | What::Received { .. }
                | What::Lost { .. }
                | What::Asked { .. }
                | What::Answered { .. }
                | What::Role { .. }
                | What::Note { .. } => {}
            }
        }
        Self {
            span,
            replicas: (1..=replicas).collect(),
            messages: messages(events, span),
            absences: absences(events, replicas, span),
            reigns: reigns(events, span),
            turns,
            durable,
            ops: client_ops(events, ops, checks, span),
        }
    }
}

fn messages(events: &[Event], span: Span) -> Vec<Message<'_>> {
    let mut fates = BTreeMap::new();
    for event in events {
        if let What::Received { message } = &event.what {
            fates.insert(*message, Fate::Received(event.at));
        } else if let What::Lost { message, why } = &event.what {
            fates.insert(*message, Fate::Lost(event.at, why));
        }
    }
    let mut messages = Vec::new();
    for event in events {
        let What::Sent { message, from, to, kind, words, repeats } = &event.what else { continue };
        let fate = fates.get(message).copied().unwrap_or(Fate::UnderWay);
        let ended = match fate {
            Fate::Received(at) | Fate::Lost(at, _) => at,
            Fate::UnderWay => event.at,
        };
        if event.at <= span.end && ended >= span.start {
            let (number, from, to, repeats) = (*message, *from, *to, *repeats);
            messages.push(Message { number, from, to, kind, words, repeats, sent: event.at, fate });
        }
    }
    messages
}

fn absences(events: &[Event], replicas: u32, span: Span) -> Vec<Absence<'_>> {
    // Nobody is up before the first start.
    let mut absent: BTreeMap<u32, (u64, Option<&str>)> =
        (1..=replicas).map(|replica| (replica, (0, Some("not started yet")))).collect();
    let mut absences = Vec::new();
    for event in events {
        let (replica, now) = match &event.what {
            What::Started { replica, .. } | What::Paused { replica, paused: false } => (*replica, None),
            What::Stopped { replica, why } => (*replica, Some(Some(why.as_str()))),
            What::Paused { replica, paused: true } => (*replica, Some(None)),
            What::Sent { .. }
            | What::Received { .. }
            | What::Lost { .. }
            | What::Asked { .. }
            | What::Answered { .. }
            | What::Role { .. }
            | What::Durable { .. }
            | What::Note { .. } => continue,
        };
        if let Some((start, down)) = absent.remove(&replica) {
            absences.push(Absence { replica, span: Span { start, end: event.at }, down });
        }
        if let Some(down) = now {
            absent.insert(replica, (event.at, down));
        }
    }
    let open = absent.into_iter().map(|(replica, (start, down))| Absence {
        replica,
        span: Span { start, end: u64::MAX },
        down,
    });
    absences.extend(open);
    absences
        .retain(|Absence { span: of, .. }| of.length() > 0 && of.start <= span.end && of.end >= span.start);
    absences
}

fn reigns(events: &[Event], span: Span) -> Vec<Reign> {
    let mut under_way: BTreeMap<u32, Reign> = BTreeMap::new();
    let mut reigns = Vec::new();
    for event in events {
        let replica = match &event.what {
            What::Role { replica, .. } | What::Stopped { replica, .. } => *replica,
            What::Sent { .. }
            | What::Received { .. }
            | What::Lost { .. }
            | What::Asked { .. }
            | What::Answered { .. }
            | What::Started { .. }
            | What::Paused { .. }
            | What::Durable { .. }
            | What::Note { .. } => continue,
        };
        if let Some(mut over) = under_way.remove(&replica) {
            over.span.end = event.at;
            reigns.push(over);
        }
        if let What::Role { role, epoch, leads: true, .. } = &event.what {
            let reigning = Span { start: event.at, end: u64::MAX };
            under_way.insert(replica, Reign { replica, span: reigning, epoch: *epoch, role: role.clone() });
        }
    }
    reigns.extend(under_way.into_values());
    reigns.retain(|Reign { span: of, .. }| of.start <= span.end && of.end >= span.start);
    reigns
}

fn client_ops(events: &[Event], ops: &[Op], checks: &[CheckResult], span: Span) -> Vec<ClientOp> {
    let mut asked: BTreeMap<u32, Vec<(u64, u32)>> = BTreeMap::new();
    for event in events {
        if let What::Asked { replica, process: Some(process), .. } = event.what {
            asked.entry(process).or_default().push((event.at, replica));
        }
    }
    let window = || checks.iter().flat_map(|check| &check.evidence).flat_map(|evidence| &evidence.window);
    let labels: BTreeMap<u64, &str> = window().map(|op| (op.index, op.label.as_str())).collect();
    let culprits: BTreeSet<u64> =
        culprits(checks).into_iter().flat_map(|(_, culprits)| culprits).map(|op| op.index).collect();
    let mut shown = Vec::new();
    for op in ops {
        if op.invoked > span.end || op.returned.unwrap_or(u64::MAX) < span.start {
            continue;
        }
        let requests = asked.get(&op.process.0).map_or(&[][..], Vec::as_slice);
        let mut of_op =
            requests.iter().filter(|(at, _)| *at >= op.invoked && *at <= op.returned.unwrap_or(u64::MAX));
        // Without a request that arrived it was at no replica.
        let Some(&(_, replica)) = of_op.next_back() else { continue };
        let label = labels.get(&op.index).map_or_else(|| brief(&op.call), |label| (*label).to_owned());
        let outcome = format!("{:?}", op.outcome);
        let title = format!("process {}: {:?} → {}", op.process, op.call, cut(&outcome, 300));
        let culprit = culprits.contains(&op.index);
        let (invoked, returned) = (op.invoked, op.returned);
        shown.push(ClientOp { replica, invoked, returned, label, title, culprit });
    }
    shown
}

/// A call in few words, without the values of transactions, which are made to be unique and not to be read.
fn brief(call: &Call) -> String {
    let step = |step: &MicroCall| match step {
        MicroCall::ReadList { key } | MicroCall::Read { key } => format!("read {key}"),
        MicroCall::Append { key, .. } => format!("append to {key}"),
        MicroCall::Write { key, .. } => format!("write {key}"),
    };
    match call {
        Call::Txn(steps) => steps.iter().map(step).collect::<Vec<_>>().join(", "),
        Call::Read { key } => format!("read {key}"),
        Call::Write { key, value } => format!("write {value} to {key}"),
        Call::Cas { key, from, to } => format!("cas {from}→{to} of {key}"),
        other @ (Call::Insert { .. }
        | Call::Update { .. }
        | Call::ReadRecord { .. }
        | Call::Scan { .. }
        | Call::ReadModifyWrite { .. }) => other.kind().name().to_owned(),
    }
}
