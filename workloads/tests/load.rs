//! The load engine against servers that are correct, slow, silent, lying, garbling or gone: everything asked is in the history,
//! and its outcome is what can be known.

mod support;

use checkers::Verdict;
use checkers::bank::{BankOptions, check_bank};
use checkers::counter::check_counter;
use checkers::history::{Answer, Call, History, MicroAnswer, MicroCall, Outcome, Phase};
use checkers::linearizability::{LinearizabilityOptions, check_append, check_linearizable};
use checkers::set::check_set;
use kv::{Command, Refusal, Response};
use protocol::{ClientOutcome, NodeId, ReplicaId};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::{Deed, Servers, run, serve};
use tokio::sync::watch;
use workloads::load::{ArrivalProcess, Arrivals, LoadEnd};
use workloads::{Binding, Distances, LoadConfig, LoadSummary, Recorder, Share, Spec, Who, run_load};

const OPEN_1000: Arrivals = Arrivals::Open { rate_per_s: 1_000.0, process: ArrivalProcess::Fixed };

fn config(clients: u32, ops_max: u64) -> LoadConfig {
    LoadConfig {
        clients,
        arrivals: Arrivals::Closed,
        op_timeout: Duration::from_secs(10),
        attempt_timeout: Duration::from_secs(5),
        time_limit: Duration::from_secs(60),
        ops_max: Some(ops_max),
        seed: 7,
        share: Share::WHOLE,
        binding: Binding::Leader,
        readers: 1,
    }
}

/// A run's history in a folder that goes with it.
struct Run {
    folder: tempfile::TempDir,
    recorder: Recorder,
    stop: watch::Sender<bool>,
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let recorder = Recorder::create(folder.path().join("history.bin")).expect("the folder is writable");
        Self { folder, recorder, stop: watch::Sender::new(false) }
    }

    async fn load(
        &mut self,
        servers: &Servers,
        spec: &Spec,
        phase: Phase,
        config: &LoadConfig,
    ) -> LoadSummary {
        let connector = servers.connector(None);
        let readers = if spec.reads_each_replica() { 3 } else { 1 };
        let config = LoadConfig { binding: spec.binding(true), readers, ..config.clone() };
        let load = run_load(&connector, spec, phase, &config, &mut self.recorder, self.stop.subscribe());
        load.await.expect("the load can be made")
    }

    /// What was recorded. Loading it checks that invocations and returns pair, and that no process has two ops open.
    fn history(self) -> History {
        self.recorder.finish().expect("the folder is writable");
        let history = History::load(self.folder.path().join("history.bin")).expect("a whole history");
        assert!(history.ops.iter().all(|op| op.returned.is_some()), "nothing is left open");
        history
    }
}

fn spec(yaml: &str) -> Spec {
    serde_yaml::from_str(yaml).expect("a valid workload")
}

fn count(history: &History, matching: impl Fn(&Outcome) -> bool) -> usize {
    history.ops.iter().filter(|op| matching(&op.outcome)).count()
}

fn is_ok(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Ok(answer) if !matches!(answer, Answer::Corrupt(_)))
}

#[test]
fn all_that_is_asked_of_correct_replicas_is_in_the_history() {
    run(async {
        let servers = serve(3, |_, _, _| Deed::Obey).await;
        let mut run = Run::new();
        let summary = run.load(&servers, &spec("register"), Phase::Run, &config(8, 2_000)).await;
        assert_eq!((summary.ok(), summary.end), (2_000, LoadEnd::OpsMax));
        let asked_of: BTreeSet<_> = servers.asked.borrow().iter().map(|(replica, _)| *replica).collect();
        assert_eq!(asked_of.len(), 3, "bound clients are spread over all replicas");
        let history = run.history();
        assert_eq!((history.ops.len(), count(&history, is_ok)), (2_000, 2_000));
        let processes: BTreeSet<_> = history.ops.iter().map(|op| op.process.0).collect();
        assert_eq!(processes, (0..8).collect(), "no process has retired");
    });
}

#[test]
fn records_are_loaded_used_and_read_in_the_end_wherever_the_leader_is() {
    run(async {
        let leader = ReplicaId(2);
        let refusal = Refusal::NotLeader { leader: Some(leader) };
        let conduct =
            move |_: usize, id, _: &_| if id == leader { Deed::Obey } else { Deed::Refuse(refusal.clone()) };
        let servers = serve(3, conduct).await;
        let mut run = Run::new();
        let spec = spec(
            "ycsb-f: { records: 50, fields: 3, field_bytes: 16, proportions: { read: 0.3, update: 0.3, \
                         insert: 0.1, scan: 0.1, read-modify-write: 0.2 } }",
        );
        let load = run.load(&servers, &spec, Phase::Load, &config(4, u64::MAX)).await;
        assert_eq!((load.ok(), load.end), (50, LoadEnd::Exhausted));
        let main = run.load(&servers, &spec, Phase::Run, &config(4, 1_000)).await;
        assert_eq!((main.ok(), main.end), (1_000, LoadEnd::OpsMax));
        assert_eq!(main.tally.len(), 5, "all kinds of op");
        let keys = run.recorder.keys_used();
        assert!(keys > 50, "records were inserted");
        let last = run.load(&servers, &spec, Phase::Final, &config(4, u64::MAX)).await;
        assert_eq!((last.ok(), last.end), (keys, LoadEnd::Exhausted));
        let history = run.history();
        assert_eq!(count(&history, is_ok) as u64, 1_050 + keys);
        assert_eq!(
            history.phases.iter().map(|(_, phase)| *phase).collect::<Vec<_>>(),
            [Phase::Load, Phase::Run, Phase::Final]
        );
        let found = |op: &&checkers::history::Op| matches!(op.outcome, Outcome::Ok(Answer::Fields(Some(_))));
        assert_eq!(history.ops.iter().rev().take(keys as usize).filter(found).count() as u64, keys);
    });
}

#[test]
fn an_op_without_an_answer_is_unknown_and_its_process_never_asks_again() {
    run(async {
        let servers = serve(2, |_, _, _| Deed::Swallow).await;
        let mut run = Run::new();
        let brief = LoadConfig { op_timeout: Duration::from_millis(40), ..config(3, 12) };
        let summary = run.load(&servers, &spec("put"), Phase::Run, &brief).await;
        assert_eq!((summary.info(), summary.retired), (12, 12));
        let sessions: BTreeSet<_> =
            servers.asked.borrow().iter().map(|(_, request)| request.session).collect();
        assert_eq!(sessions.len(), 12, "a new process has a new session");
        let used = run.recorder.processes_used();
        let next = run.load(&servers, &spec("put"), Phase::Final, &brief).await;
        assert!(next.info() > 0);
        let history = run.history();
        let processes: BTreeSet<_> = history.ops.iter().map(|op| op.process).collect();
        assert_eq!(processes.len(), history.ops.len(), "each has asked once");
        assert!(history.ops.iter().filter(|op| op.phase == Phase::Final).all(|op| op.process.0 >= used));
    });
}

#[test]
fn a_command_whose_answer_is_lost_with_its_connection_happens_once() {
    run(async {
        let servers = serve(3, |before, _, _| if before % 3 == 0 { Deed::HangUp } else { Deed::Obey }).await;
        let mut run = Run::new();
        let spec = spec("append: { keys: 3, appends_per_key: 20 }");
        let summary = run.load(&servers, &spec, Phase::Run, &config(5, 300)).await;
        // A first command of a session that is lost cannot be told from one that was forgotten: it may end as unknown.
        assert!(summary.ok() > 200, "{summary:?}");
        run.load(&servers, &spec, Phase::Final, &config(5, u64::MAX)).await;
        let history = run.history();
        let mut lists = 0;
        for op in &history.ops {
            let (Call::Txn(steps), Outcome::Ok(Answer::Txn(answers))) = (&op.call, &op.outcome) else {
                continue;
            };
            for (step, answer) in steps.iter().zip(answers) {
                if let (MicroCall::ReadList { .. }, MicroAnswer::List(list)) = (step, answer) {
                    let distinct: BTreeSet<_> = list.iter().collect();
                    assert_eq!(distinct.len(), list.len(), "an append happened twice: {op:?}");
                    lists += 1;
                }
            }
        }
        assert!(lists > 100);
    });
}

#[test]
fn answers_that_cannot_be_are_corrupt() {
    run(async {
        let servers = serve(1, |_, _, _| Deed::Lie(Response::Length(3))).await;
        let mut run = Run::new();
        let summary = run.load(&servers, &spec("register"), Phase::Run, &config(2, 20)).await;
        assert_eq!(summary.ok(), 20, "it says that it has done something");
        let history = run.history();
        assert_eq!(count(&history, |outcome| matches!(outcome, Outcome::Ok(Answer::Corrupt(_)))), 20);
    });
}

#[test]
fn bytes_that_are_no_answer_leave_the_outcome_unknown() {
    run(async {
        let servers = serve(1, |_, _, _| Deed::Garble).await;
        let mut run = Run::new();
        let brief = LoadConfig { op_timeout: Duration::from_millis(40), ..config(2, 6) };
        let summary = run.load(&servers, &spec("register"), Phase::Run, &brief).await;
        assert_eq!((summary.info(), summary.ok()), (6, 0));
        run.history();
    });
}

#[test]
fn a_refusal_is_a_failure() {
    run(async {
        let servers = serve(1, |_, _, _| Deed::Refuse(Refusal::Invalid("too long".into()))).await;
        let mut run = Run::new();
        let summary = run.load(&servers, &spec("put"), Phase::Run, &config(2, 6)).await;
        assert_eq!((summary.fail(), summary.retired), (6, 0));
        let said = |outcome: &Outcome| matches!(outcome, Outcome::Fail(why) if why.contains("too long"));
        assert_eq!(count(&run.history(), said), 6);
    });
}

#[test]
fn what_cannot_be_sent_has_certainly_failed() {
    run(async {
        let mut servers = serve(1, |_, _, _| Deed::Obey).await;
        // A port that is taken and never listened on.
        let silent = tokio::net::TcpSocket::new_v4().expect("a socket");
        silent.bind(([127, 0, 0, 1], 0).into()).expect("loopback has free ports");
        let nobody = silent.local_addr().expect("it is bound");
        servers.replicas = [(ReplicaId(1), nobody)].into();
        let mut run = Run::new();
        let brief = LoadConfig { op_timeout: Duration::from_millis(40), ..config(2, 4) };
        let summary = run.load(&servers, &spec("put"), Phase::Run, &brief).await;
        assert_eq!((summary.fail(), summary.info()), (4, 0));
        run.history();
    });
}

#[test]
fn ops_open_at_the_time_limit_are_waited_for() {
    run(async {
        let servers = serve(1, |_, _, _| Deed::Delay(Duration::from_millis(60))).await;
        let mut run = Run::new();
        let brief = LoadConfig { time_limit: Duration::from_millis(20), ..config(4, u64::MAX) };
        let summary = run.load(&servers, &spec("put"), Phase::Run, &brief).await;
        assert_eq!((summary.end, summary.ok(), summary.info()), (LoadEnd::TimeLimit, 4, 0));
        assert_eq!(run.history().ops.len(), 4);
    });
}

#[test]
fn a_load_that_is_stopped_drains() {
    run(async {
        let mut run = Run::new();
        let stop = run.stop.clone();
        let conduct = move |before, _, _: &_| {
            if before == 100 {
                stop.send(true).expect("the load listens");
            }
            Deed::Obey
        };
        let servers = serve(1, conduct).await;
        let summary = run.load(&servers, &spec("put"), Phase::Run, &config(4, u64::MAX)).await;
        assert_eq!(summary.end, LoadEnd::Stopped);
        let asked = servers.asked.borrow().len();
        assert_eq!(summary.ok() as usize, asked, "all that was asked was answered");
        assert_eq!(run.history().ops.len(), asked);
    });
}

#[test]
fn an_open_loop_keeps_its_schedule_and_drops_nothing_in_silence() {
    run(async {
        // Fifty a second where a thousand are due.
        let servers = serve(1, |_, _, _| Deed::Delay(Duration::from_millis(20))).await;
        let mut run = Run::new();
        let (op_timeout, time_limit) = (Duration::from_millis(200), Duration::from_millis(500));
        let overload = LoadConfig { arrivals: OPEN_1000, op_timeout, time_limit, ..config(1, u64::MAX) };
        let summary = run.load(&servers, &spec("put"), Phase::Run, &overload).await;
        assert_eq!(summary.end, LoadEnd::TimeLimit);
        let history = run.history();
        assert!(history.ops.len() > 250, "{}", history.ops.len());
        let mut due: Vec<u64> = history.ops.iter().map(|op| op.intended).collect();
        due.sort_unstable();
        assert!(
            due.windows(2).all(|pair| pair[1] - pair[0] == 1_000_000),
            "one each millisecond, none left out"
        );
        let not_sent = |outcome: &Outcome| *outcome == Outcome::Fail("not sent: overload".into());
        assert_eq!(count(&history, not_sent) as u64, summary.not_sent);
        assert_eq!(summary.not_sent + summary.ok(), history.ops.len() as u64);
        let waited =
            |op: &&checkers::history::Op| op.returned.is_some_and(|end| end - op.intended > 100_000_000);
        assert!(history.ops.iter().filter(waited).count() > 100, "the wait counts, sent or not");
        assert_eq!(servers.asked.borrow().len() as u64, summary.ok());
    });
}

#[test]
fn a_pause_is_charged_to_all_that_was_due_in_it() {
    run(async {
        let pause = Duration::from_millis(100);
        let conduct = move |before, _, _: &_| if before == 50 { Deed::Delay(pause) } else { Deed::Obey };
        let servers = serve(1, conduct).await;
        let mut run = Run::new();
        let open = LoadConfig { arrivals: OPEN_1000, ..config(1, 300) };
        let summary = run.load(&servers, &spec("put"), Phase::Run, &open).await;
        assert_eq!((summary.ok(), summary.end), (300, LoadEnd::OpsMax));
        let slow =
            |op: &&checkers::history::Op| op.returned.is_some_and(|end| end - op.intended >= 50_000_000);
        let slow = run.history().ops.iter().filter(slow).count();
        assert!(slow >= 50, "a closed loop would have charged one: {slow}");
    });
}

/// Two places, each with a server of its own; the way to the other is long.
#[test]
fn clients_ask_who_is_near_and_who_is_far_answers_late() {
    let (near, far) = (Duration::from_millis(4), Duration::from_millis(60));
    let place = |ms: [Duration; 2]| (1..).map(NodeId).zip(ms).collect();
    let distances = Distances::new(vec![place([near, far]), place([far, near])], vec![0, 1]);
    run(async {
        let servers = serve(2, |_, _, _| Deed::Obey).await;
        for (binding, is_near) in [(Binding::Replica, true), (Binding::Home, true), (Binding::Leader, false)]
        {
            let connector = servers.far_connector(None, distances.clone());
            for (turn, own) in [(0, ReplicaId(1)), (1, ReplicaId(2))] {
                let who = Who { binding, turn, attempt_timeout: Duration::from_secs(5) };
                let mut client = connector.client(&who);
                let write = || Command::Write { key: "k".into(), value: "v".into() };
                for _ in 0..2 {
                    let begun = Instant::now();
                    let done = client.run(write(), Duration::from_secs(9)).await;
                    assert!(matches!(done.outcome, ClientOutcome::Answered(_)), "{done:?}");
                    let took = begun.elapsed();
                    let round_trip = if done.by == [own] { near } else { far };
                    assert!(took >= round_trip && took < round_trip * 10, "{took:?} by {:?}", done.by);
                    assert!(!is_near || done.by == [own], "{binding:?}: client {turn} went to {:?}", done.by);
                }
            }
        }
        // Whose home is anywhere, goes the whole way.
        let connector = servers.far_connector(None, distances.with_homes_anywhere());
        let who = Who { binding: Binding::Replica, turn: 2, attempt_timeout: Duration::from_secs(5) };
        let read = Command::Read { key: "k".into() };
        let done = connector.client(&who).run(read, Duration::from_secs(9)).await;
        assert_eq!(done.by, [ReplicaId(1)]);
    });
}

#[test]
fn one_command_at_a_time_for_a_shell() {
    run(async {
        let seen = Rc::new(Cell::new(0));
        let counted = seen.clone();
        let conduct = move |before, _, _: &_| {
            counted.set(before + 1);
            Deed::Obey
        };
        let servers = serve(2, conduct).await;
        let mut client = servers.client(None);
        let limit = Duration::from_secs(10);
        let (key, value) = ("greeting".into(), "hello".into());
        let put = client.run(kv::Command::Write { key, value }, limit).await;
        assert_eq!(put.outcome, ClientOutcome::Answered(Response::Done));
        let get = client.run(kv::Command::Read { key: "greeting".into() }, limit).await;
        assert_eq!(
            get.outcome,
            ClientOutcome::Answered(Response::Value(Some(kv::Value::Bytes("hello".into()))))
        );
        let invalid = client.run(kv::Command::Read { key: "".into() }, limit).await;
        assert!(matches!(invalid.outcome, ClientOutcome::Failed(_)), "{invalid:?}");
        assert_eq!(seen.get(), 2);
    });
}

/// What a replica says to a read if it has heard of nothing since it started.
fn answer_of_an_empty_replica(command: &kv::Command) -> Option<Response> {
    if let kv::Command::Txn(steps) = command {
        let nothing = steps.iter().map(|_| kv::MicroResponse::Value(None));
        return command.is_read_only().then(|| Response::Txn(nothing.collect()));
    }
    matches!(command, kv::Command::Read { .. }).then_some(Response::Value(None))
}

#[test]
fn a_follower_that_answers_from_the_past_is_seen_by_the_clients_bound_to_it() {
    for name in ["register", "append", "set", "counter", "bank"] {
        run(async {
            let stale = ReplicaId(3);
            let conduct = move |_: usize, id, request: &kv::Request| {
                let lie = answer_of_an_empty_replica(&request.command).filter(|_| id == stale);
                lie.map_or(Deed::Obey, Deed::Lie)
            };
            let servers = serve(3, conduct).await;
            let mut run = Run::new();
            let spec = spec(name);
            run.load(&servers, &spec, Phase::Load, &config(6, u64::MAX)).await;
            run.load(&servers, &spec, Phase::Run, &config(6, 600)).await;
            run.load(&servers, &spec, Phase::Final, &config(6, u64::MAX)).await;
            let history = run.history();
            let minute = Duration::from_secs(60);
            let result = match &spec {
                Spec::Append(_) => check_append(&history, minute),
                Spec::Set(_) => check_set(&history, minute),
                Spec::Counter(_) => check_counter(&history, minute),
                Spec::Bank(bank) => {
                    check_bank(&history, &BankOptions { accounts: bank.accounts, overdraft: true }, minute)
                }
                Spec::Register(_) | Spec::Ycsb(_) | Spec::Put(_) => {
                    check_linearizable(&history, &LinearizabilityOptions::default())
                }
            };
            assert_eq!(result.verdict, Verdict::Invalid, "{name}: {}", result.summary);
            // Clients take the replicas in turn.
            let of_stale = |process: u32| process % 6 % 3 == 2;
            let blamed = result.evidence.iter().flat_map(|evidence| &evidence.window).filter(|op| op.culprit);
            assert!(blamed.clone().any(|op| of_stale(op.process)), "{name}: {}", result.summary);
        });
    }
}
