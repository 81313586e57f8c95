//! A small run made by hand: an acknowledged write is lost with its leader.

use super::{Excerpts, Picture, close_up, excerpts, overview};
use crate::draw::scene::{Area, Item, Scene};
use crate::draw::svg::svg;
use crate::measure::perf::Perf;
use crate::measure::span::Span;
use crate::stored::CpuUse;
use crate::trace::{Accusation, Event, Trace, What};
use checkers::history::{Answer, Call, FaultEvent, FaultStage, Op, Outcome, Phase, ProcessId};
use checkers::verdict::{Evidence, WindowOp};
use checkers::{CheckResult, Verdict};

const US: u64 = 1_000;
const REPLICAS: u32 = 3;

fn sent(at: u64, message: u64, (from, to): (u32, u32), kind: &str, repeats: bool) -> Event {
    let words = format!("{kind} {{ term: 1, <n{from}> }}");
    Event { at: at * US, what: What::Sent { message, from, to, kind: kind.into(), words, repeats } }
}

fn event(at: u64, what: What) -> Event {
    Event { at: at * US, what }
}

fn events() -> Vec<Event> {
    let started = |replica| event(0, What::Started { replica, records: 0 });
    let received = |at, message| event(at, What::Received { message });
    let lost = |at, message, why: &str| event(at, What::Lost { message, why: why.into() });
    let asked =
        |at, replica, process| event(at, What::Asked { replica, process: Some(process), words: "?".into() });
    vec![
        started(1),
        started(2),
        started(3),
        sent(100, 1, (1, 2), "request-vote", false),
        sent(100, 2, (1, 3), "request-vote", false),
        lost(100, 2, "lost"),
        received(300, 1),
        event(350, What::Durable { replica: 2, before: 1 }),
        sent(350, 3, (2, 1), "request-vote-reply", false),
        received(500, 3),
        event(500, What::Role { replica: 1, role: "leader".into(), epoch: 2, leads: true }),
        sent(510, 4, (1, 2), "append-entries", true),
        event(550, What::Paused { replica: 3, paused: true }),
        asked(600, 1, 7),
        sent(600, 5, (1, 2), "append-entries", false),
        received(620, 4),
        lost(700, 5, "cut on its way"),
        event(750, What::Stopped { replica: 1, why: "power lost".into() }),
        event(800, What::Paused { replica: 3, paused: false }),
        event(900, What::Started { replica: 1, records: 2 }),
        asked(1_000, 2, 8),
        sent(1_050, 6, (2, 3), "read-index", false),
    ]
}

fn ops() -> Vec<Op> {
    let op = |index, process, call, invoked: u64, returned: Option<u64>, outcome| Op {
        index,
        process: ProcessId(process),
        phase: Phase::Run,
        is_hostile: false,
        to: None,
        by: Vec::new(),
        call,
        intended: invoked * US,
        invoked: invoked * US,
        returned: returned.map(|at| at * US),
        outcome,
    };
    vec![
        op(3, 7, Call::Write { key: 4, value: 1 }, 580, Some(640), Outcome::Ok(Answer::Done)),
        op(5, 8, Call::Read { key: 4 }, 980, Some(1_100), Outcome::Ok(Answer::Value(None))),
        op(6, 9, Call::Read { key: 9 }, 990, None, Outcome::Info("never arrived".into())),
    ]
}

fn checks() -> Vec<CheckResult> {
    let window = ops().into_iter().take(2).map(|op| WindowOp {
        index: op.index,
        process: op.process.0,
        label: if op.index == 3 { "write 1" } else { "read → nothing" }.into(),
        invoked: op.invoked,
        returned: op.returned,
        culprit: true,
        state: None,
    });
    let evidence = Evidence {
        object: "key 4".into(),
        story: String::new(),
        window: window.collect(),
        prefixes: Vec::new(),
    };
    let result = CheckResult::new("linearizability", Verdict::Invalid, 1, "a write is lost".into());
    vec![CheckResult { evidence: vec![evidence], ..result }]
}

fn perf() -> Perf {
    let fault = |stage| FaultEvent {
        id: 1,
        fault: "partition-halves".into(),
        line: None,
        targets: "n1|n2,n3".into(),
        stage,
        detail: String::new(),
    };
    let faults = [(650 * US, fault(FaultStage::Installed)), (850 * US, fault(FaultStage::Healed))];
    Perf::of(&[], &faults, &[], &CpuUse::default())
}

fn draw(trace: &Trace, checks: &[CheckResult], with: impl Fn(&Picture<'_>, &Excerpts) -> Scene) -> Scene {
    let chosen = excerpts(trace, checks).expect("a short run is shown");
    let (ops, perf) = (ops(), perf());
    let what = Picture { trace, ops: &ops, checks, replicas: REPLICAS, perf: &perf, excerpts: &chosen };
    with(&what, &chosen)
}

fn lost_write() -> Scene {
    let trace = Trace { events: events(), accusations: Vec::new() };
    draw(&trace, &checks(), |what, _| close_up(what, 1))
}

#[test]
fn a_lost_write_among_three_replicas() {
    insta::assert_snapshot!(svg(&lost_write(), false).replace("><", ">\n<"));
}

#[test]
fn an_overview_frames_what_is_drawn_closely() {
    let found = Accusation { checker: "invariants".into(), what: "two leaders".into(), at: Some(1_050 * US) };
    let trace = Trace { events: events(), accusations: vec![found] };
    let scene = draw(&trace, &[], |what, _| overview(what, Span { start: 0, end: 1_100 * US }));
    insta::assert_snapshot!(svg(&scene, false).replace("><", ">\n<"));
}

/// The names of messages, with the places they take.
fn names(scene: &Scene) -> Vec<(String, Area)> {
    let name = |item: &Item| {
        let Item::Text { at, text, lettering } = item else { return None };
        let half = lettering.width(text) / 2.0;
        let area = Area { left: at.x - half, right: at.x + half, top: at.y - 9.0, bottom: at.y };
        ["RV", "RVR", "AE", "RI"].contains(&text.as_str()).then(|| (text.clone(), area))
    };
    scene.items.iter().filter_map(name).collect()
}

#[test]
fn every_message_is_named_once_unless_it_says_nothing_new() {
    let scene = lost_write();
    let mut seen: Vec<_> = names(&scene).into_iter().map(|(name, _)| name).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["AE", "RI", "RV", "RV", "RVR"]);
}

#[test]
fn names_do_not_overlap_however_many_messages_there_are() {
    let mut events: Vec<Event> = events().into_iter().take(3).collect();
    for message in 0..140 {
        let pair = [(1, 2), (2, 3), (3, 1), (1, 3)][message as usize % 4];
        events.push(sent(10 + message / 5, message, pair, "append-entries", false));
    }
    let trace = Trace { events, accusations: Vec::new() };
    let scene = draw(&trace, &[], |what, _| close_up(what, 1));
    let names = names(&scene);
    assert!(names.len() > 20, "{} names", names.len());
    for (at, (_, a)) in names.iter().enumerate() {
        for (_, b) in &names[at + 1..] {
            let apart = a.right < b.left || b.right < a.left || a.bottom < b.top || b.bottom < a.top;
            assert!(apart, "{a:?} and {b:?}");
        }
    }
}

#[test]
fn words_of_messages_do_not_become_markup() {
    let page = svg(&lost_write(), false);
    assert!(page.contains("&lt;n1&gt;") && !page.contains("<n1>"));
}
