//! Drives the nemesis in real time: carries out what is due, renews leases, takes note of processes that end; at the end heals
//! everything and looks whether it is healed.

use crate::action::{Action, Evidence, InjectError};
use crate::exit::Exit;
use crate::machine::{Group, LOOK, Nemesis};
use crate::operator::in_words;
use crate::schedule::Injection;
use crate::world::{LinkMeans, World};
use checkers::history::FaultEvent;
use protocol::NodeId;
use protocol::control::{NodeStatus, OneWayCondition};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A node heals itself this long after its controller was last heard.
pub const LEASE: Duration = Duration::from_secs(8);
/// How often leases are renewed and counters read.
const TICK: Duration = Duration::from_millis(500);
/// How long the final heal may take, apart from clocks that have to be caught up with.
const HEAL_DEADLINE: Duration = Duration::from_secs(20);
/// How long after the final heal members may stand still on their way to what is wanted.
const MEMBERS_DEADLINE: Duration = Duration::from_secs(30);
/// A healed clock is within this of the machine's, microseconds.
const CLOCK_ERROR_US_MAX: u64 = 5_000;

/// Whether everything was as it should be at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealReport {
    /// What could not be healed, or not be seen to be healed. Empty: all is well.
    pub problems: Vec<String>,
    /// Processes that ended by themselves, with what they left to say.
    pub crashes: Vec<(NodeId, Exit)>,
}

/// Real processes on real hosts. Links, clocks and disks are leased: what is not said again within [`LEASE`] heals itself.
#[expect(async_fn_in_trait, reason = "one task owns its processes; its futures need not be Send")]
pub trait Processes {
    /// Who they are.
    fn group(&self) -> Group;

    /// Carries an action out, and says what shows it.
    async fn carry_out(&mut self, action: &Action) -> Result<Evidence, InjectError>;

    /// Undoes all that is leased, and says how the node is then.
    async fn heal(&mut self, node: NodeId) -> Result<NodeStatus, InjectError>;

    /// Processes that ended by themselves since this was last asked.
    async fn unexpected_exits(&mut self) -> Vec<(NodeId, Exit)>;

    /// By what means this condition comes about on links between nodes.
    fn link_means(&self, condition: &OneWayCondition) -> LinkMeans;

    /// In a few words, whose clocks a clock fault bends.
    fn clock_means(&self) -> &'static str;
}

/// Processes in real time, and who takes down what becomes of faults.
struct Real<P, R> {
    processes: P,
    record: R,
    begin: Instant,
}

impl<P: Processes, R: FnMut(FaultEvent)> World for Real<P, R> {
    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    async fn carry_out(&mut self, action: &Action) -> Result<Evidence, InjectError> {
        self.processes.carry_out(action).await
    }

    fn record(&mut self, event: FaultEvent) {
        (self.record)(event);
    }

    fn link_means(&self, condition: &OneWayCondition) -> LinkMeans {
        self.processes.link_means(condition)
    }

    fn clock_means(&self) -> &'static str {
        self.processes.clock_means()
    }
}

/// Owns the processes while faults come and go.
pub struct Runner<P: Processes, R: FnMut(FaultEvent)> {
    real: Real<P, R>,
    nemesis: Nemesis,
    /// So long a healed clock may have to stand still.
    catch_up: Duration,
}

impl<P: Processes, R: FnMut(FaultEvent)> Runner<P, R> {
    /// `record` is told of everything that happens, in order. `seed`: for what is drawn when a fault comes.
    pub fn new(processes: P, schedule: Vec<Injection>, seed: u64, record: R) -> Self {
        let offset = |injection: &Injection| {
            injection.fault.clock_setting().map(|clock| clock.offset_us.unsigned_abs())
        };
        let offset_us_most = schedule.iter().filter_map(offset).max().unwrap_or(0);
        Self {
            nemesis: Nemesis::new(processes.group(), schedule, seed),
            real: Real { processes, record, begin: Instant::now() },
            catch_up: Duration::from_micros(2 * offset_us_most),
        }
    }

    /// Runs until `stop` turns true (or its sender is gone), then heals everything. Gives the processes back.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> (P, HealReport) {
        self.real.begin = Instant::now();
        let mut tick = self.real.begin + TICK;
        while !*stop.borrow() {
            let due = self.nemesis.next_due().map(|due| self.real.begin + due);
            tokio::select! {
                () = tokio::time::sleep_until(due.map_or(tick, |due| due.min(tick))) => {}
                gone = stop.changed() => if gone.is_err() { break },
            }
            if *stop.borrow() {
                break;
            }
            self.look_for_exits().await;
            self.nemesis.step(&mut self.real).await;
            if Instant::now() >= tick {
                self.nemesis.renew(&mut self.real).await;
                tick = Instant::now() + TICK;
            }
        }
        let problems = self.heal().await;
        let crashes = self.nemesis.crashes().to_vec();
        (self.real.processes, HealReport { problems, crashes })
    }

    /// Takes note of processes that ended by themselves.
    async fn look_for_exits(&mut self) {
        for (node, exit) in self.real.processes.unexpected_exits().await {
            let (how, words) = (exit.how, exit.to_string());
            if self.nemesis.ended(node, exit) {
                tracing::info!(%node, words, "a node stopped because of a fault");
            } else {
                tracing::warn!(%node, ?how, words, "a node ended by itself");
            }
        }
    }

    /// Ends all that is in force, then looks until nothing is, or it took too long; what is not well then.
    async fn heal(&mut self) -> Vec<String> {
        self.look_for_exits().await;
        self.nemesis.heal(&mut self.real).await;
        self.look_for_exits().await;
        let mut problems = Vec::new();
        let deadline = Instant::now() + HEAL_DEADLINE + self.catch_up;
        for node in self.nemesis.group().nodes.clone() {
            if let Some(problem) = self.heal_node(node, deadline).await {
                problems.push(format!("{node}: {problem}"));
            }
        }
        let unsettled = self.see_it_through().await;
        problems.extend(self.nemesis.problems().iter().cloned());
        problems.extend(unsettled);
        problems
    }

    async fn heal_node(&mut self, node: NodeId, deadline: Instant) -> Option<String> {
        loop {
            let problem = match self.real.processes.heal(node).await {
                // A foreign process has no links or clock of ours to heal.
                Err(InjectError::Unsupported(_)) => return None,
                Err(InjectError::Failed(why)) => why,
                Ok(status) if !status.links.is_empty() => {
                    format!("links still conditioned: {:?}", status.links)
                }
                Ok(status) if status.disk_full => "its disk is full still".to_owned(),
                Ok(status) if status.clock_error_us.unsigned_abs() > CLOCK_ERROR_US_MAX => {
                    format!("clock still {} us off", status.clock_error_us)
                }
                Ok(_) => return None,
            };
            if Instant::now() >= deadline {
                return Some(problem);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Until all that an operator was asked for is done, and whoever has forgotten is another member; or why not.
    async fn see_it_through(&mut self) -> Option<String> {
        let mut last = (self.nemesis.operator().voters().clone(), Instant::now());
        while !self.nemesis.is_settled() {
            tokio::time::sleep(LOOK).await;
            self.nemesis.step(&mut self.real).await;
            let voters = self.nemesis.operator().voters();
            if *voters != last.0 {
                last = (voters.clone(), Instant::now());
            } else if last.1.elapsed() > MEMBERS_DEADLINE {
                let wish = self.nemesis.operator().wish().map_or("others".to_owned(), in_words);
                let voters = in_words(voters);
                return Some(format!("voters were {voters} and are not seen to have become {wish}"));
            }
        }
        None
    }
}
