//! Scenarios: `tests/scenarios/*.txt`, each a story in prose, directives, and what the replicas do.
//!
//! ```text
//! # Prose.
//! directive
//! directive
//! ----
//! what happens
//! ```
//! A blank line ends what happens. `UPDATE_GOLDENS=1 cargo test -p raft scenario` writes it anew; commit a difference only
//! if you can explain it. The paper's five properties are checked all the way. `n1 -> n2` leaves at once, `n1 => n2` when the sender's records are durable.
//!
//! | directive | |
//! |---|---|
//! | `start 3 read=lease`, `start 3+1` | n1, n2, n3 with these options, and one more that is no member |
//! | `slow n1` | from now on n1's disk works only at `sync n1` and `io n1` |
//! | `time 50` | milliseconds pass; no timer fires |
//! | `timeout n1`, `fire n1 heartbeat` | the timer's time comes, and it fires |
//! | `request n1 here append k v`, `request n1 leader read k` | a new client asks |
//! | `retry n1` | the last client asks n1 the same again |
//! | `deliver`, `deliver n1->n2`, `deliver n1->n2 1` | messages arrive: all until none are left, or those now on one link |
//! | `drop`, `drop n1->n2` | messages are lost |
//! | `copy n1->n2` | messages will arrive twice |
//! | `cut n1\|n2,n3`, `heal` | what is sent between sides is lost |
//! | `sync n1`, `io n1` | n1's journal, or its snapshot store, does its work |
//! | `crash n1`, `restart n1`, `wipe n1` | a wiped replica comes back in its next life |
//! | `change n1 n2,n3i1`, `transfer n1 n2` | an operator asks n1 for these voters, or to have n2 lead |
//! | `state`, `log` | how things are |

use crate::host::{self, Host, Sent};
use kv::{Command, Routing};
use protocol::{
    AdminRequest, Bugs, ClientId, Incarnation, Outbox, Protocol, ReplicaId, RequestId, Sequence, SessionId,
    Time,
};
use raft::{Bug, Config, Configuration, Invariants, Members, Message, Options, Raft, Timer, Violation};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Default)]
struct Scenario {
    hosts: BTreeMap<ReplicaId, Host>,
    founders: Option<Configuration>,
    now: Time,
    /// What is under way, in sending order.
    network: VecDeque<(ReplicaId, ReplicaId, Message)>,
    cut: BTreeSet<(ReplicaId, ReplicaId)>,
    slow: BTreeSet<ReplicaId>,
    requests: u64,
    last: Option<(RequestId, Routing, Command)>,
    lives: u64,
    bugs: Bugs<Bug>,
    invariants: Invariants,
    violation: Option<Violation>,
    out: String,
}

fn replica(word: &str) -> ReplicaId {
    let number = word.strip_prefix('n').and_then(|n| n.parse().ok());
    ReplicaId(number.unwrap_or_else(|| panic!("{word} is no replica")))
}

/// `n1` or `n1i2`.
fn life(word: &str) -> (ReplicaId, Incarnation) {
    let (id, incarnation) = word.split_once('i').unwrap_or((word, "0"));
    (replica(id), Incarnation(incarnation.parse().unwrap_or_else(|_| panic!("{word} is no life"))))
}

fn link(word: &str) -> (ReplicaId, ReplicaId) {
    let (from, to) = word.split_once("->").unwrap_or_else(|| panic!("{word} is no link"));
    (replica(from), replica(to))
}

fn command(words: &[&str]) -> Command {
    let bytes = |word: &str| bytes::Bytes::from(word.to_owned());
    match words {
        ["read", key] => Command::Read { key: bytes(key) },
        ["write", key, value] => Command::Write { key: bytes(key), value: bytes(value) },
        ["append", key, element] => Command::Append { key: bytes(key), element: bytes(element) },
        other => panic!("{other:?} is no command"),
    }
}

fn options(words: &[&str]) -> Options {
    let lines: Vec<String> = words.iter().map(|word| word.replacen('=', ": ", 1)).collect();
    serde_yaml::from_str(&format!("{{{}}}", lines.join(", "))).unwrap_or_else(|e| panic!("{words:?}: {e}"))
}

impl Scenario {
    fn run(&mut self, directive: &str) {
        let words: Vec<&str> = directive.split_whitespace().collect();
        match &words[..] {
            ["start", count, rest @ ..] => {
                let options = Options { bugs: self.bugs.clone(), ..options(rest) };
                let (founders, outside) = count.split_once('+').unwrap_or((count, "0"));
                let count = |count: &str| count.parse().expect("a count");
                self.start(count(founders), count(outside), &options);
            }
            ["slow", who] => assert!(self.slow.insert(replica(who)), "{who} is slow already"),
            ["time", ms] => self.now = self.now + Duration::from_millis(ms.parse().expect("milliseconds")),
            ["timeout", who] => self.time_out(replica(who)),
            ["fire", who, "heartbeat"] => self.fire(replica(who), Timer::Heartbeat),
            ["fire", who, "patience"] => self.fire(replica(who), Timer::Patience),
            ["request", who, routing, rest @ ..] => {
                self.requests += 1;
                let routing = match *routing {
                    "here" => Routing::Here,
                    "leader" => Routing::Leader,
                    other => panic!("{other} is no routing"),
                };
                self.last = Some((RequestId(self.requests), routing, command(rest)));
                self.request(replica(who));
            }
            ["retry", who] => self.request(replica(who)),
            ["deliver"] => while self.deliver(|_| true) {},
            ["deliver", which] => {
                let of = link(which);
                let count = self.network.iter().filter(|(from, to, _)| (*from, *to) == of).count();
                (0..count).for_each(|_| assert!(self.deliver(|link| link == of)));
            }
            ["deliver", which, count] => {
                let of = link(which);
                let count: usize = count.parse().expect("a count");
                (0..count).for_each(|_| assert!(self.deliver(|link| link == of), "nothing is on {which}"));
            }
            ["drop"] => self.drop(|_| true),
            ["drop", which] => self.drop(|of| of == link(which)),
            ["copy", which] => {
                let of = link(which);
                let copies: Vec<_> =
                    self.network.iter().filter(|(a, b, _)| (*a, *b) == of).cloned().collect();
                self.network.extend(copies);
            }
            ["cut", sides] => self.cut(sides),
            ["heal"] => self.cut.clear(),
            ["sync", who] => self.sync(replica(who)),
            ["io", who] => self.io(replica(who)),
            ["crash", who] => {
                self.host(replica(who)).crash(0);
                self.invariants.restarted(replica(who));
            }
            ["restart", who] => self.restart(replica(who)),
            ["wipe", who] => {
                host::wipe(self.host(replica(who)));
                self.invariants.wiped(replica(who));
            }
            ["change", who, voters] => {
                let voters = voters.split(',').map(life).collect();
                self.admin(replica(who), AdminRequest::ChangeMembers { voters });
            }
            ["transfer", who, to] => {
                self.admin(replica(who), AdminRequest::TransferLeadership { to: replica(to) });
            }
            ["state"] => self.print_state(),
            ["log"] => self.print_logs(),
            other => panic!("{other:?} is no directive"),
        }
    }

    fn host(&mut self, id: ReplicaId) -> &mut Host {
        self.hosts.get_mut(&id).unwrap_or_else(|| panic!("there is no {id}"))
    }

    fn start(&mut self, founders: u32, outside: u32, options: &Options) {
        let members: Vec<ReplicaId> = (1..=founders).map(ReplicaId).collect();
        self.founders = Some(Configuration::of(Members::founders(&members).expect("founders")));
        for replica in (1..=founders + outside).map(ReplicaId) {
            let incarnation = Incarnation(0);
            let config = Config { replica, incarnation, members: members.clone(), options: options.clone() };
            self.hosts.insert(replica, Host::new(config));
            self.restart(replica);
        }
    }

    fn restart(&mut self, id: ReplicaId) {
        self.lives += 1;
        let (seed, now) = (self.lives, self.now);
        let sent = self.host(id).start(seed, now).unwrap_or_else(|e| panic!("{id}: {e}"));
        self.carry(id, sent);
    }

    fn fire(&mut self, id: ReplicaId, timer: Timer) {
        let at = self.host(id).take_timer(timer).unwrap_or_else(|| panic!("{id} has not set {timer:?}"));
        self.now = self.now.max(at);
        let now = self.now;
        self.host(id).input(|raft, out| raft.handle_timer(now, timer, out));
        self.end_turn(id);
    }

    /// Lets time pass until a replica seeks election. Its timer may be set anew before that.
    fn time_out(&mut self, id: ReplicaId) {
        let sought = |host: &Host| host.core().status().metrics["pre_votes_started"];
        let before = sought(self.host(id));
        while sought(self.host(id)) == before {
            self.fire(id, Timer::Election);
        }
    }

    fn request(&mut self, id: ReplicaId) {
        let (request, routing, command) = self.last.clone().expect("somebody has asked something");
        let now = self.now;
        let request = kv::Request {
            id: request,
            session: SessionId(request.0),
            sequence: Sequence(1),
            routing,
            command,
        };
        let client = ClientId(request.id.0);
        self.host(id).input(|raft, out| raft.handle_request(now, client, request, out));
        self.end_turn(id);
    }

    fn admin(&mut self, id: ReplicaId, request: AdminRequest) {
        let (now, mut answer) = (self.now, None);
        self.host(id).input(|raft, out| answer = Some(raft.handle_admin(now, request, out)));
        self.line(format_args!("{id} says {:?}", answer.expect("an answer")));
        self.end_turn(id);
    }

    /// Delivers the first message on one of these links. Whether there was one.
    fn deliver(&mut self, wanted: impl Fn((ReplicaId, ReplicaId)) -> bool) -> bool {
        let Some(place) = self.network.iter().position(|(from, to, _)| wanted((*from, *to))) else {
            return false;
        };
        let (from, to, message) = self.network.remove(place).expect("just found");
        if self.cut.contains(&(from, to)) || self.host(to).up().is_none() {
            self.line(format_args!("{to} misses {from}'s {message}"));
            return true;
        }
        self.line(format_args!("{to} gets {from}'s {message}"));
        let now = self.now;
        self.host(to).input(|raft, out| raft.handle_message(now, from, message, out));
        self.end_turn(to);
        true
    }

    fn drop(&mut self, lost: impl Fn((ReplicaId, ReplicaId)) -> bool) {
        let (lost, kept): (Vec<_>, Vec<_>) =
            self.network.drain(..).partition(|(from, to, _)| lost((*from, *to)));
        self.network = kept.into();
        for (from, to, message) in lost {
            self.line(format_args!("{to} misses {from}'s {message}"));
        }
    }

    fn cut(&mut self, sides: &str) {
        let sides: Vec<Vec<ReplicaId>> =
            sides.split('|').map(|side| side.split(',').map(replica).collect()).collect();
        for (i, side) in sides.iter().enumerate() {
            for other in sides.iter().enumerate().filter(|(j, _)| *j != i).flat_map(|(_, other)| other) {
                self.cut.extend(side.iter().map(|id| (*id, *other)));
            }
        }
    }

    fn end_turn(&mut self, id: ReplicaId) {
        let now = self.now;
        let sent = self.host(id).end_turn(now);
        self.carry(id, sent);
    }

    fn sync(&mut self, id: ReplicaId) {
        let now = self.now;
        let sent = self.host(id).sync(usize::MAX, now);
        self.carry(id, sent);
    }

    fn io(&mut self, id: ReplicaId) {
        let now = self.now;
        self.host(id).finish_io();
        while self.host(id).has_answer() {
            self.host(id).answer(now);
            self.end_turn(id);
        }
    }

    fn carry(&mut self, id: ReplicaId, sent: Sent) {
        let violation = self.invariants.after_step(self.hosts[&id].core()).err();
        self.violation = self.violation.take().or(violation);
        let written = std::mem::take(&mut self.host(id).written);
        for (position, record) in written {
            self.line(format_args!("    {id} writes {position} {record}"));
        }
        self.carry_lane(id, sent.early, "->");
        self.carry_lane(id, sent.durable, "=>");
        for effect in std::mem::take(&mut self.host(id).snapshot_effects) {
            self.line(format_args!("    {id} asks its snapshot store: {effect}"));
        }
        if !self.slow.contains(&id) {
            if !self.host(id).unsynced.is_empty() {
                self.sync(id);
            }
            if self.host(id).has_io() {
                self.io(id);
            }
        }
    }

    fn carry_lane(&mut self, id: ReplicaId, outgoing: Outbox<Raft>, arrow: &str) {
        for (to, message) in outgoing.messages {
            self.line(format_args!("    {id} {arrow} {to} {message}"));
            self.network.push_back((id, to, message));
        }
        for (client, reply) in outgoing.replies {
            self.line(format_args!("    {id} {arrow} {client} {:?}", reply.result));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.out, "{line}").expect("a string takes everything");
    }

    fn print_state(&mut self) {
        for (id, host) in &self.hosts {
            let line = match host.up() {
                None => format!("{id} is down"),
                Some(raft) => {
                    let status = raft.status();
                    let leader = status.leader.map_or("nobody".to_owned(), |leader| leader.to_string());
                    let (role, term, commit) =
                        (&status.role, status.epoch, status.state.count + status.behind);
                    let configuration = raft.configuration();
                    let members = match (self.founders.as_ref() == Some(configuration), raft.is_changing()) {
                        (_, true) => format!(", {configuration}, changing"),
                        (false, false) => format!(", {configuration}"),
                        (true, false) => String::new(),
                    };
                    format!("{id} {role} in t{term} under {leader}, committed {commit}{members}")
                }
            };
            writeln!(self.out, "{line}").expect("a string takes everything");
        }
    }

    fn print_logs(&mut self) {
        for (id, host) in &self.hosts {
            let Some(raft) = host.up() else { continue };
            let base = raft.log().base();
            let entries: Vec<String> = raft.log().entries().map(|entry| entry.id().to_string()).collect();
            writeln!(self.out, "{id} after {base}: {}", entries.join(" "))
                .expect("a string takes everything");
        }
    }
}

/// The scenario with what happens in it now, unless it violates a property.
fn replay(text: &str, bugs: Bugs<Bug>) -> Result<String, Violation> {
    let mut scenario = Scenario { bugs, ..Scenario::default() };
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        writeln!(out, "{line}").expect("a string takes everything");
        if line == "----" {
            out.push_str(&std::mem::take(&mut scenario.out));
            if lines.find(|line| line.is_empty()).is_some() {
                out.push('\n');
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            println!("{line}");
            scenario.run(line);
            if let Some(violation) = scenario.violation.take() {
                return Err(violation);
            }
        }
    }
    assert!(scenario.out.is_empty(), "what happens last is not printed");
    Ok(out)
}

/// What the same directives lead to with a bug.
pub(crate) fn replay_with(bug: Bug, scenario: &str) -> Result<String, Violation> {
    let path = folder().join(scenario);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    replay(&text, [bug].into_iter().collect())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

fn scenarios() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).expect("the scenarios' folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths
}

#[test]
fn scenarios_go_as_written() {
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let paths = scenarios();
    assert!(paths.len() >= 10, "{} scenarios", paths.len());
    let mut differ = Vec::new();
    for path in paths {
        println!("{}", path.display());
        let golden = std::fs::read_to_string(&path).expect("a scenario");
        let now = replay(&golden, Bugs::default()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        if update {
            std::fs::write(&path, now).expect("the scenario is written anew");
        } else if let Some((line, (is, was))) =
            now.lines().zip(golden.lines()).enumerate().find(|(_, (is, was))| is != was)
        {
            differ.push(format!("{}:{}\n  was: {was}\n  is:  {is}", path.display(), line + 1));
        } else if now != golden {
            differ.push(format!("{}: it ends differently", path.display()));
        }
    }
    assert!(differ.is_empty(), "\n{}", differ.join("\n"));
}
