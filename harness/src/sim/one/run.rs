//! One seed: a storm over a working cluster, then a quorum is healed and must serve, then all are and must agree.

use super::clients::{ClientSettings, Clients, Recording};
use super::conclude::{Conclusion, conclude};
use super::{Accusation, Simulated, settings};
use crate::checks::Check;
use crate::plan::Cell;
use crate::sightings::sighting;
use crate::sim::alarm::Alarm;
use crate::sim::storm::Storm;
use checkers::digests::{Settled, Sighting, Sightings, Statuses, are_at_rest};
use checkers::history::{Entry, Outcome, Phase};
use kv::Serves;
use nemesis::target::names;
use nemesis::{Group, Nemesis};
use protocol::{Detector, Incarnation, NodeId, ReplicaId, Time};
use sim::{Broken, Cluster, Observer, Output};
use std::time::Duration;
use workloads::Binding;

/// How many clients ask in the end, for each replica.
pub(super) const FINAL_WORKERS: u32 = 3;
/// The load phase, and the end of ops after the run phase, may take so long.
const BRACKET: Duration = Duration::from_secs(120);
/// A quorum is at rest when no new epoch has begun for this long.
const REST: Duration = Duration::from_secs(5);
/// Between two looks at what is waited for.
const GLANCE: Duration = Duration::from_millis(100);
/// Between two looks at what replicas say of themselves, for the record.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks at steps, and counts them.
struct Counted<O> {
    observer: O,
    steps: u64,
}

impl<P, O: Observer<P>> Observer<P> for Counted<O> {
    const LOOKS: bool = O::LOOKS;

    fn after_step(&mut self, core: &P) -> Result<(), Broken> {
        self.steps += 1;
        self.observer.after_step(core)
    }

    fn restarted(&mut self, replica: ReplicaId) {
        self.observer.restarted(replica);
    }
}

/// One seed, with a protocol.
pub(crate) struct Run<'a, P: Serves, O> {
    cell: &'a Cell,
    cluster: Cluster<P>,
    observer: Counted<O>,
    /// How often service, rest, or one state was waited for.
    demands: u64,
    nodes: Vec<NodeId>,
    storm: Storm,
    clients: Clients<P>,
    recording: Recording,
    sightings: Sightings,
    accusations: Vec<Accusation>,
    settled: Option<Settled>,
    recover_within: Duration,
}

impl<'a, P: Serves, O: Observer<P>> Run<'a, P, O> {
    /// All nodes are up, and the load phase has begun.
    pub(crate) fn new(
        cell: &'a Cell,
        in_words: bool,
        observer: O,
        configure: impl Fn(ReplicaId, Incarnation) -> P::Config + 'static,
    ) -> Self {
        let mut observer = Counted { observer, steps: 0 };
        let placement = cell.plan.placement(cell.subject());
        let nodes: Vec<_> = placement.nodes().collect();
        // What an earlier run on this thread has counted is not ours.
        drop(protocol::reached::take());
        let mut cluster = Cluster::new(cell.seed, placement, settings::cluster(cell, in_words), configure);
        for node in &nodes {
            cluster.start(*node, &mut observer);
        }
        let mut recording = Recording::default();
        recording.phase(cluster.now(), Phase::Load);
        let load =
            ClientSettings { think_mean: Duration::from_millis(1), ops_max: None, ..settings::clients(cell) };
        let clients = Clients::begin(Phase::Load, load, nodes.clone(), &mut recording, &mut cluster);
        let storm = Storm::begin(group(cell, &cluster), Vec::new(), cell.seed, &mut cluster);
        let recover_within = cell.plan.sim.as_ref().expect("a resolved plan").recover_within;
        Self {
            cell,
            cluster,
            observer,
            demands: 0,
            nodes,
            storm,
            clients,
            recording,
            sightings: Sightings::default(),
            accusations: Vec::new(),
            settled: None,
            recover_within,
        }
    }

    /// To its end, and judged.
    pub(crate) fn all(mut self) -> Simulated {
        self.phases();
        let reached = protocol::reached::take();
        let now = self.cluster.now();
        self.clients.abandon(now, &mut self.recording);
        let statuses = Statuses { sightings: self.sightings.to_vec(), settled: self.settled };
        let made = [
            (Check::Invariants, if O::LOOKS { self.observer.steps } else { 0 }),
            (Check::Replicas, self.observer.steps),
            (Check::Liveness, self.demands),
        ];
        let Conclusion { checks, accusations, answered, control } =
            conclude(self.cell, &self.recording.entries, &statuses, made, self.accusations);
        Simulated {
            checks,
            accusations,
            control,
            workload: self.cell.workload().name(),
            answered,
            entries: self.recording.entries,
            processes: self.recording.processes,
            statuses,
            events: self.cluster.events().to_vec(),
            bites: self.storm.bites(),
            reached,
            fingerprint: self.cluster.fingerprint(),
            messages: self.cluster.messages_delivered(),
            ops: self.recording.ops,
            ok: self.recording.ok,
            virtual_time: now.since(Time::ZERO),
        }
    }

    /// Stops at the first accusation: what comes after it means little.
    fn phases(&mut self) {
        self.cluster.alarm(Time::ZERO + LOOK_EVERY, Alarm::Look.number());
        if !self.bracket("before any fault, the load phase", BRACKET) {
            return;
        }
        self.run_phase();
        if !self.accusations.is_empty() {
            return;
        }
        let patience = self.recover_within + Nemesis::clock_error_most(self.cell.schedule());
        let (recording, cluster, observer) = (&mut self.recording, &mut self.cluster, &mut self.observer);
        let saved = self.storm.heal_quorum(&mut recording.entries, cluster, observer);
        self.cluster.note(|| format!("healed is the quorum {}", names(&saved)));
        // Whoever leads may stand outside, and be cut off from some of the quorum: it is enough that somebody serves.
        if !self.serves(&format!("the quorum {} was healed", names(&saved)), &saved, None, patience) {
            return;
        }
        if !self.comes_to_rest(&saved, patience) {
            return;
        }
        self.storm.heal(&mut self.recording.entries, &mut self.cluster, &mut self.observer);
        self.cluster.note(|| "all is healed".to_owned());
        self.until(self.cluster.now() + patience, |run| run.storm.unsettled().is_none());
        if !self.accusations.is_empty() {
            return;
        }
        if let Some(wish) = self.storm.unsettled() {
            self.stalled(format!("{patience:?} after all was healed {wish} were not the voters yet"));
            return;
        }
        let saved = self.storm.sound_voters();
        let when = format!("{} were healed", names(&saved));
        let bound = Some(Binding::Replica);
        if !self.serves(&when, &saved, bound, patience) || !self.comes_to_one_state(&when, &saved, patience) {
            return;
        }
        let bound_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let last = saved.iter().filter_map(|node| self.sighting(*node)).collect();
        self.settled = Some(Settled { bound_ms, last, silent: Vec::new() });
    }

    fn run_phase(&mut self) {
        let now = self.cluster.now();
        self.recording.phase(now, Phase::Run);
        let (group, schedule) = (group(self.cell, &self.cluster), self.cell.schedule().to_vec());
        self.storm = Storm::begin(group, schedule, self.cell.seed, &mut self.cluster);
        let settings = settings::clients(self.cell);
        self.clients =
            Clients::begin(Phase::Run, settings, self.nodes.clone(), &mut self.recording, &mut self.cluster);
        self.until(now + self.cell.plan.duration, |_| false);
        self.clients.stop();
        let drained = self.cluster.now() + self.cell.plan.load.op_timeout;
        self.until(drained, |run| run.clients.are_done());
    }

    /// A phase that must come to its end.
    fn bracket(&mut self, what: &str, within: Duration) -> bool {
        self.demands += 1;
        let deadline = self.cluster.now() + within;
        self.until(deadline, |run| run.clients.are_done());
        if self.accusations.is_empty() && !self.clients.are_done() {
            self.stalled(format!("{what} did not come to its end within {within:?}"));
        }
        self.accusations.is_empty()
    }

    /// Everything is read once more within this time; `binding`: through each of these replicas.
    fn serves(&mut self, when: &str, saved: &[NodeId], binding: Option<Binding>, within: Duration) -> bool {
        let now = self.cluster.now();
        self.recording.phase(now, Phase::Final);
        let first = self.recording.entries.len();
        let mut replicas = saved.to_vec();
        if binding.is_none() {
            replicas.extend(self.nodes.iter().filter(|node| !saved.contains(node)));
        }
        let settings = ClientSettings {
            binding: binding.unwrap_or(Binding::Leader),
            distances: settings::distances(self.cell).with_homes_anywhere(),
            workers: FINAL_WORKERS * u32::try_from(saved.len()).expect("few replicas"),
            op_timeout: within,
            think_mean: Duration::from_micros(100),
            ops_max: None,
            ..settings::clients(self.cell)
        };
        self.clients =
            Clients::begin(Phase::Final, settings, replicas, &mut self.recording, &mut self.cluster);
        if !self.bracket(&format!("after {when}, the final reads"), within + BRACKET) {
            return false;
        }
        let unread = self.recording.entries[first..].iter().find_map(not_answered);
        if let Some(unread) = unread {
            self.stalled(format!("after {when}, a read went unanswered for {within:?}: {unread}"));
        }
        self.accusations.is_empty()
    }

    /// Within this time, no new epoch (term, view, ballot) begins for a while: what stands outside the quorum cannot keep it busy.
    fn comes_to_rest(&mut self, saved: &[NodeId], within: Duration) -> bool {
        self.demands += 1;
        let deadline = self.cluster.now() + within;
        let epoch = |run: &Self| {
            saved.iter().filter_map(|node| Some(run.cluster.status(*node)?.epoch)).max().unwrap_or(0)
        };
        let first = epoch(self);
        let (mut last, mut since) = (first, self.cluster.now());
        while self.cluster.now().since(since) < REST {
            if self.cluster.now() >= deadline {
                self.stalled(format!(
                    "the quorum {} did not come to rest in {within:?}: from epoch {first} to {last}",
                    names(saved)
                ));
                return false;
            }
            self.until(self.cluster.now() + GLANCE, |_| false);
            if !self.accusations.is_empty() {
                return false;
            }
            let now = epoch(self);
            if now != last {
                (last, since) = (now, self.cluster.now());
            }
        }
        true
    }

    fn comes_to_one_state(&mut self, when: &str, saved: &[NodeId], within: Duration) -> bool {
        self.demands += 1;
        self.until_seen(self.cluster.now() + within, |run| run.agree(saved));
        if self.accusations.is_empty() && !self.agree(saved) {
            let said: Vec<_> = saved.iter().map(|node| self.describe(*node)).collect();
            let said = said.join("; ");
            self.stalled(format!("{within:?} after {when} the replicas had not come to one state: {said}"));
        }
        self.accusations.is_empty()
    }

    fn describe(&self, node: NodeId) -> String {
        match self.cluster.status(node) {
            None => format!("{node} says nothing"),
            Some(s) => format!(
                "{node} is {} in epoch {}, {}, has applied {} and is {} behind, digest {:016x}, {}",
                s.role,
                s.epoch,
                if s.serves { "serves" } else { "does not serve" },
                s.state.count,
                s.behind,
                s.state.digest,
                if s.under_way.is_empty() { "idle" } else { &s.under_way }
            ),
        }
    }

    /// Whether these are at one place, serve, and know of nothing that is still to be done.
    fn agree(&self, saved: &[NodeId]) -> bool {
        let statuses: Option<Vec<_>> = saved.iter().map(|node| self.cluster.status(*node)).collect();
        let Some(statuses) = statuses else { return false };
        let now = self.cluster.now().0;
        let said: Vec<_> =
            saved.iter().zip(&statuses).map(|(node, status)| sighting(*node, now, status)).collect();
        statuses.iter().all(|status| status.serves) && are_at_rest(&said)
    }

    fn stalled(&mut self, what: String) {
        let at = Some(self.cluster.now());
        let check = Check::Liveness;
        self.accusations.push(Accusation { detectors: check.detectors().to_vec(), check, what, at });
    }

    /// Lets time pass until `stop`, or an accusation.
    fn until(&mut self, deadline: Time, stop: impl Fn(&Self) -> bool) {
        while self.accusations.is_empty() && !stop(self) {
            let Some(output) = self.cluster.next(deadline, &mut self.observer) else { return };
            self.handle(output);
        }
    }

    /// The same, for what all replicas have to be asked for: looks now and then.
    fn until_seen(&mut self, deadline: Time, stop: impl Fn(&Self) -> bool) {
        while self.accusations.is_empty() && self.cluster.now() < deadline && !stop(self) {
            self.until(deadline.min(self.cluster.now() + GLANCE), |_| false);
        }
    }

    fn handle(&mut self, output: Output<P>) {
        let (recording, cluster) = (&mut self.recording, &mut self.cluster);
        match output {
            Output::Reply { client, from, reply } => {
                self.clients.reply(client, from, reply, recording, cluster);
            }
            Output::Lost { client, node, refused } => {
                self.clients.lost(client, (node, refused), recording, cluster);
            }
            Output::Alarm(number) => self.alarm(Alarm::of(number)),
            Output::Stopped { node, why } => {
                if let Some(what) = self.storm.stopped(node, &why, cluster) {
                    self.accuse(Check::Replicas, Check::Replicas.detectors(), what);
                }
            }
            Output::Broken(broken) => self.accuse(Check::Invariants, &[broken.detector], broken.what),
        }
    }

    fn accuse(&mut self, check: Check, detectors: &[Detector], what: String) {
        let at = Some(self.cluster.now());
        self.cluster.note(|| format!("FOUND: {what}"));
        self.accusations.push(Accusation { detectors: detectors.to_vec(), check, what, at });
    }

    fn alarm(&mut self, alarm: Alarm) {
        let (recording, cluster, observer) = (&mut self.recording, &mut self.cluster, &mut self.observer);
        match alarm {
            Alarm::Ask { slot } => self.clients.ask(slot, recording, cluster),
            Alarm::Wake { slot } => self.clients.wake(slot, recording, cluster),
            Alarm::Nemesis => self.storm.step(&mut recording.entries, cluster, observer),
            Alarm::Doom { node } => self.storm.doom_is_over(node, cluster, observer),
            Alarm::Restart { node } => self.storm.start(node, cluster, observer),
            Alarm::Look => {
                for node in self.nodes.clone() {
                    if let Some(sighting) = self.sighting(node) {
                        self.sightings.add(sighting);
                    }
                }
                let next = self.cluster.now() + LOOK_EVERY;
                self.cluster.alarm(next, Alarm::Look.number());
            }
        }
    }

    fn sighting(&self, node: NodeId) -> Option<Sighting> {
        // One that stands alone has nobody to agree with, and may lose what is not on disk yet.
        let status = self.cluster.status(node).filter(|_| self.nodes.len() > 1)?;
        Some(sighting(node, self.cluster.now().0, &status))
    }
}

/// Who is there for the nemesis.
fn group<P: Serves>(cell: &Cell, cluster: &Cluster<P>) -> Group {
    let founders = (1..=cell.replicas()).map(NodeId).collect();
    cell.subject().system.properties().group(founders, cluster.placement().clone())
}

fn not_answered(entry: &Entry) -> Option<String> {
    match entry {
        Entry::Return { outcome: Outcome::Fail(why) | Outcome::Info(why), process, .. } => {
            Some(format!("process {process}: {why}"))
        }
        Entry::Return { .. }
        | Entry::Phase { .. }
        | Entry::Invoke { .. }
        | Entry::Fault { .. }
        | Entry::Clocks { .. }
        | Entry::Hostile { .. }
        | Entry::Liar { .. } => None,
    }
}
