//! The runner against a world that keeps books, in virtual time.

use checkers::history::{FaultEvent, FaultStage};
use nemesis::target::Shape;
use nemesis::{
    Action, Comeback, Dark, DiskCondition, Evidence, Exit, ExitKind, Fault, Group, HealReport, InjectError,
    Injection, LinkMeans, Pressure, Processes, Reading, Runner, Targets,
};
use protocol::control::{ControlRequest, LinkConditions, LinkCounters, NodeStatus, OneWayCondition};
use protocol::quorum::Quorums;
use protocol::{AdminReply, AdminRequest, Incarnation, Members, NodeId, Placement, ReplicaId, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;

/// Three nodes that do what they are told and count a message a second on each blocked or delayed link.
#[derive(Default)]
struct Books {
    up: BTreeMap<NodeId, bool>,
    paused: BTreeMap<NodeId, bool>,
    status: BTreeMap<NodeId, NodeStatus>,
    /// Links bite only in a world with traffic.
    traffic: bool,
    /// No conditioner, as for a foreign process.
    foreign: bool,
    /// A clock that cannot be set back.
    stuck_clock: bool,
    restarts_fail: bool,
    /// Nobody hears how the cut of a disk ended.
    cuts_fail: bool,
    /// Who does not come back when he is to.
    lost: BTreeSet<NodeId>,
    lives: u32,
    /// How often each disk was lost.
    disks: BTreeMap<NodeId, Incarnation>,
    pressed: BTreeSet<(NodeId, Pressure)>,
    /// Disks that were copied.
    copied: BTreeSet<NodeId>,
    /// How a node comes back on a disk that was cut or put back.
    comeback: Option<fn(String) -> Comeback>,
    /// Processes that ended by themselves, and what those say who meet a full disk.
    exits: Vec<(NodeId, Exit)>,
    last_words: Option<(ExitKind, &'static str)>,
    /// Who has ended by itself when he is to lose his power.
    ended: BTreeSet<NodeId>,
    /// On whose disk everything is.
    synced: BTreeSet<NodeId>,
    /// Whoever is asked for other members or leaders refuses.
    stubborn: bool,
    /// Whoever is the first that is up leads.
    headed: bool,
    /// Who coordinates so many commands more between two looks.
    busy: Option<(NodeId, u64)>,
}

impl Books {
    fn new() -> Self {
        let ids = || (1..=3).map(NodeId);
        Books {
            up: ids().map(|n| (n, true)).collect(),
            paused: ids().map(|n| (n, false)).collect(),
            status: ids().map(|n| (n, NodeStatus { node: n, pid: n.0, ..Default::default() })).collect(),
            traffic: true,
            headed: true,
            ..Default::default()
        }
    }

    /// Four nodes of which three vote, led by the first.
    fn with_members() -> Self {
        let mut books = Books::new();
        let four = NodeId(4);
        books.up.insert(four, true);
        books.paused.insert(four, false);
        books.status.insert(four, NodeStatus { node: four, pid: 4, ..Default::default() });
        let voters: BTreeMap<_, _> = (1..=3).map(|n| (ReplicaId(n), Incarnation(0))).collect();
        let members = Members { voters, changing: false };
        books.status.values_mut().for_each(|status| status.core.members = Some(members.clone()));
        books.headed = false;
        books.crown(NodeId(1));
        books
    }

    fn crown(&mut self, leader: NodeId) {
        for (node, status) in &mut self.status {
            status.core.leads = *node == leader;
        }
    }

    fn voters(&self) -> Vec<(u32, u32)> {
        let members = self.status[&NodeId(1)].core.members.as_ref();
        members.expect("its members change").voters.iter().map(|(node, life)| (node.0, life.0)).collect()
    }

    fn count(counters: &mut LinkCounters, conditions: &LinkConditions) {
        counters.blocked += u64::from(conditions.outbound.all.blocked || conditions.inbound.all.blocked);
        counters.delayed += u64::from(conditions.outbound.all.latency_us > 0);
    }
}

impl Processes for Books {
    fn group(&self) -> Group {
        Group {
            nodes: self.up.keys().copied().collect(),
            founders: (1..=3).map(NodeId).collect(),
            placement: Placement::one_each(4),
            quorums: Quorums::Majority,
            changes_members: self.status.len() > 3,
        }
    }

    async fn carry_out(&mut self, action: &Action) -> Result<Evidence, InjectError> {
        let lease_ms = 1;
        let read = |status: NodeStatus| Evidence::Read(Box::new(Reading::from(status)));
        match action.clone() {
            Action::Look => Ok(Evidence::Seen(self.look().await)),
            Action::Read(node) => self.control(node, ControlRequest::Status).await.map(read),
            Action::Kill(node) => self.kill(node).await.map(Evidence::Words),
            Action::LosePower(nodes) => Ok(Evidence::Dark(self.lose_power(&nodes).await)),
            Action::Start(node) => self.restart(node).await.map(Evidence::Words),
            Action::Pause(node) => self.pause(node).await.map(Evidence::Words),
            Action::Resume(node) => self.resume(node).await.map(Evidence::Words),
            Action::Press(node, pressure) => self.press(node, pressure).await.map(Evidence::Words),
            Action::Release(node, pressure) => self.release(node, pressure).await.map(Evidence::Released),
            Action::Links(node, links) => {
                self.control(node, ControlRequest::SetLinks { links, lease_ms }).await.map(read)
            }
            Action::Clock(node, clock) => {
                self.control(node, ControlRequest::SetClock { clock, lease_ms }).await.map(read)
            }
            Action::Disk(node, DiskCondition { full: true, .. }) => {
                self.fill_disk(node).await.map(Evidence::Words)
            }
            Action::Disk(node, _) => self.free_disk(node).await.map(Evidence::Words),
            Action::FlipBit(node, chance) => self.flip_bit(node, chance).await.map(Evidence::Words),
            Action::StartDamaged(_) => Ok(Evidence::Comeback(Comeback::Refused("it refused".into()))),
            Action::Wipe(node) => self.wipe(node).await.map(Evidence::Words),
            Action::Truncate(node, bytes) => self.truncate(node, bytes).await.map(Evidence::Words),
            Action::ComeBack(node) => self.come_back(node).await.map(Evidence::Comeback),
            Action::CopyDisk(node) => self.copy_disk(node).await.map(Evidence::Words),
            Action::RollBack(node) => self.roll_back(node).await.map(Evidence::Comeback),
            Action::Ask(node, request) => self.administer(node, &request).await.map(Evidence::Answer),
        }
    }

    async fn heal(&mut self, node: NodeId) -> Result<NodeStatus, InjectError> {
        self.control(node, ControlRequest::Heal).await
    }

    async fn unexpected_exits(&mut self) -> Vec<(NodeId, Exit)> {
        std::mem::take(&mut self.exits)
    }

    fn link_means(&self, _condition: &OneWayCondition) -> LinkMeans {
        LinkMeans { by: "in the books", unit: "messages" }
    }

    fn clock_means(&self) -> &'static str {
        "clocks in the books"
    }
}

impl Books {
    /// The first that is up leads, where members are fixed.
    async fn look(&mut self) -> BTreeMap<NodeId, Status> {
        if let Some((node, more)) = self.busy {
            self.status.get_mut(&node).unwrap().core.coordinated += more;
        }
        let answers = |node: &NodeId| self.up[node] && !self.paused[node];
        let said = self.status.iter().filter(|(node, _)| answers(node));
        let mut said: BTreeMap<_, _> = said.map(|(node, status)| (*node, status.core.clone())).collect();
        if self.headed
            && let Some(first) = said.values_mut().next()
        {
            first.leads = true;
        }
        said
    }

    async fn kill(&mut self, node: NodeId) -> Result<String, InjectError> {
        assert!(self.up.insert(node, false).unwrap(), "{node} killed twice");
        Ok("gone".into())
    }

    async fn lose_power(&mut self, nodes: &[NodeId]) -> Vec<Result<Dark, InjectError>> {
        if self.foreign {
            return nodes.iter().map(|_| Err(InjectError::Unsupported("it keeps it".into()))).collect();
        }
        let mut gone = Vec::new();
        for node in nodes {
            if self.ended.contains(node) {
                self.up.insert(*node, false);
                gone.push(Err(InjectError::Failed("it ended by itself first".into())));
                continue;
            }
            let killed = self.kill(*node).await;
            gone.push(killed.map(|evidence| Dark { evidence, lost_nothing: self.synced.contains(node) }));
        }
        gone
    }

    async fn restart(&mut self, node: NodeId) -> Result<String, InjectError> {
        if self.restarts_fail {
            return Err(InjectError::Failed("it will not start".into()));
        }
        if self.up.insert(node, true).unwrap() {
            return Err(InjectError::Unsupported("runs already".into()));
        }
        self.lives += 1;
        let core = self.status[&node].core.clone();
        let fresh = NodeStatus { node, pid: 100 + self.lives, core, ..Default::default() };
        self.status.insert(node, fresh);
        Ok("up".into())
    }

    async fn pause(&mut self, node: NodeId) -> Result<String, InjectError> {
        assert!(self.up[&node] && !self.paused.insert(node, true).unwrap(), "{node} cannot be paused");
        Ok("stopped".into())
    }

    async fn resume(&mut self, node: NodeId) -> Result<String, InjectError> {
        assert!(self.paused.insert(node, false).unwrap(), "{node} was not paused");
        Ok("went on".into())
    }

    async fn control(&mut self, node: NodeId, request: ControlRequest) -> Result<NodeStatus, InjectError> {
        if self.foreign {
            return Err(InjectError::Unsupported("no conditioner".into()));
        }
        if !self.up[&node] || self.paused[&node] {
            return Err(InjectError::Failed(format!("{node} does not answer")));
        }
        let (traffic, stuck) = (self.traffic, self.stuck_clock);
        let status = self.status.get_mut(&node).unwrap();
        for (peer, conditions) in status.links.clone() {
            if traffic {
                Self::count(status.outbound.entry(peer).or_default(), &conditions);
            }
        }
        match request {
            ControlRequest::Status | ControlRequest::Renew { .. } => {}
            ControlRequest::SetLinks { links, .. } => status.links = links,
            ControlRequest::SetClock { clock, .. } if clock.offset_us == 0 && stuck => {}
            ControlRequest::SetClock { clock, .. } => status.clock_error_us = clock.offset_us,
            ControlRequest::SetDisk { full, .. } => status.disk_full = full,
            ControlRequest::Heal => status.links.clear(),
            ControlRequest::SetAdversary { spec, .. } => status.adversary = spec,
            ControlRequest::SetRoutes { routes } => status.routes = routes,
            ControlRequest::Admin(request) => panic!("nobody here asks for {request:?}"),
        }
        Ok(status.clone())
    }

    async fn administer(&mut self, node: NodeId, request: &AdminRequest) -> Result<AdminReply, InjectError> {
        assert!(self.status[&node].core.leads, "{node} cannot");
        if self.stubborn {
            return Ok(AdminReply::Refused { reason: "it will not".into() });
        }
        match request {
            AdminRequest::ChangeMembers { voters } => {
                let members = Members { voters: voters.clone(), changing: false };
                self.status.values_mut().for_each(|status| status.core.members = Some(members.clone()));
            }
            AdminRequest::TransferLeadership { to } => self.crown(NodeId(to.0)),
        }
        Ok(AdminReply::Accepted)
    }

    async fn press(&mut self, node: NodeId, pressure: Pressure) -> Result<String, InjectError> {
        assert!(self.pressed.insert((node, pressure)), "{node} pressed twice");
        Ok("pressed".into())
    }

    async fn release(&mut self, node: NodeId, pressure: Pressure) -> Result<Option<String>, InjectError> {
        assert!(self.pressed.remove(&(node, pressure)), "{node} was not pressed");
        Ok(self.traffic.then(|| "released".into()))
    }

    async fn flip_bit(&mut self, node: NodeId, _chance: u64) -> Result<String, InjectError> {
        self.up.insert(node, false);
        Ok("a bit of its disk flipped".into())
    }

    async fn wipe(&mut self, node: NodeId) -> Result<String, InjectError> {
        self.disks.entry(node).or_default().0 += 1;
        self.up.insert(node, true);
        Ok("a new disk".into())
    }

    async fn fill_disk(&mut self, node: NodeId) -> Result<String, InjectError> {
        self.status.get_mut(&node).unwrap().disk_full = true;
        if self.traffic {
            self.up.insert(node, false);
            let full = (ExitKind::DiskFull, "writing: No space left on device");
            let (how, words) = self.last_words.unwrap_or(full);
            self.exits.push((node, Exit { how, words: words.into() }));
        }
        Ok("full".into())
    }

    async fn free_disk(&mut self, node: NodeId) -> Result<String, InjectError> {
        self.status.get_mut(&node).unwrap().disk_full = false;
        Ok("room again".into())
    }

    async fn truncate(&mut self, node: NodeId, bytes: u64) -> Result<String, InjectError> {
        self.kill(node).await?;
        if self.cuts_fail {
            return Err(InjectError::Failed("nobody answers".into()));
        }
        Ok(format!("gone, {bytes} bytes cut off"))
    }

    async fn come_back(&mut self, node: NodeId) -> Result<Comeback, InjectError> {
        if self.lost.contains(&node) {
            return Err(InjectError::Failed("no room for its disk".into()));
        }
        if self.synced.contains(&node) {
            self.restart(node).await?;
            return Ok(Comeback::Whole("up".into()));
        }
        self.restart(node).await?;
        Ok(self.comeback.unwrap_or(Comeback::Forgetful)("3 records are lost".into()))
    }

    async fn copy_disk(&mut self, node: NodeId) -> Result<String, InjectError> {
        assert!(self.up[&node] && self.copied.insert(node), "{node} cannot be copied");
        Ok("copied".into())
    }

    async fn roll_back(&mut self, node: NodeId) -> Result<Comeback, InjectError> {
        assert!(self.copied.remove(&node), "{node} was not copied");
        self.kill(node).await?;
        self.come_back(node).await
    }
}

fn injection(at_s: u64, for_s: u64, fault: Fault, targets: Targets) -> Injection {
    let s = Duration::from_secs;
    Injection {
        at: s(at_s),
        lasts: s(for_s),
        name: fault.name(),
        line: None,
        fault,
        targets,
        impossible: None,
    }
}

fn on(node: u32) -> Targets {
    Targets::Nodes(vec![NodeId(node)])
}

fn halves() -> Fault {
    Fault::Partition(Shape::Groups(vec![vec![NodeId(1)], vec![NodeId(2), NodeId(3)]]))
}

/// Runs a schedule for some virtual seconds; what was recorded, the world after it, and the report.
async fn run(books: Books, schedule: Vec<Injection>, seconds: u64) -> (Vec<FaultEvent>, Books, HealReport) {
    let mut events = Vec::new();
    let (stop, stopped) = watch::channel(false);
    let runner = Runner::new(books, schedule, 1, |event| events.push(event));
    let stopper = async {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        stop.send(true).unwrap();
    };
    let ((world, report), ()) = tokio::join!(runner.run(stopped), stopper);
    (events, world, report)
}

fn stages(events: &[FaultEvent]) -> Vec<(u32, FaultStage)> {
    events.iter().map(|e| (e.id, e.stage)).collect()
}

fn assert_healed(books: &Books, report: &HealReport) {
    assert_eq!(*report, HealReport::default());
    assert!(books.up.values().all(|up| *up), "a node is down");
    assert!(books.paused.values().all(|paused| !*paused), "a node is paused");
    assert!(
        books.status.values().all(|s| s.links.is_empty() && s.clock_error_us == 0),
        "a link or clock is faulted"
    );
}

use FaultStage::{Healed, Indeterminate, Installed, NeverBit, Skipped};

#[tokio::test(start_paused = true)]
async fn faults_come_bite_and_go() {
    let delay = Fault::Delay { latency: Duration::from_millis(50), jitter: Duration::ZERO, kinds: None };
    let schedule = vec![
        injection(1, 3, Fault::Kill, Targets::Leader),
        injection(2, 4, Fault::Pause, on(3)),
        injection(8, 3, halves(), Targets::Nodes(vec![])),
        injection(9, 3, delay, on(2)),
        injection(14, 2, Fault::ClockOffset { offset_ms: -700 }, on(1)),
    ];
    let (events, books, report) = run(Books::new(), schedule, 20).await;
    let expected = [(1, Installed), (2, Installed), (1, Healed), (2, Healed)];
    assert_eq!(stages(&events)[..4], expected);
    assert_eq!(
        stages(&events)[4..],
        [(3, Installed), (4, Installed), (3, Healed), (4, Healed), (5, Installed), (5, Healed)]
    );
    assert_eq!(events[0].targets, "n1", "the leader of that moment");
    assert_eq!(events[4].targets, "n1|n2,n3");
    assert_healed(&books, &report);
}

#[tokio::test(start_paused = true)]
async fn a_fault_on_silent_links_never_bit() {
    let books = Books { traffic: false, ..Books::new() };
    let (events, ..) = run(books, vec![injection(1, 2, halves(), Targets::Nodes(vec![]))], 10).await;
    assert_eq!(stages(&events), [(1, Installed), (1, NeverBit)]);
}

#[tokio::test(start_paused = true)]
async fn what_presses_on_a_host_ends_and_one_that_had_nothing_never_bit() {
    let schedule = || {
        let both = Targets::Nodes(vec![NodeId(1), NodeId(3)]);
        vec![
            injection(1, 2, Fault::CpuPressure { workers: 4 }, both),
            injection(2, 60, Fault::MemoryPressure { mebibytes: 64 }, on(1)),
        ]
    };
    let (events, books, report) = run(Books::new(), schedule(), 10).await;
    assert_eq!(stages(&events), [(1, Installed), (2, Installed), (1, Healed), (2, Healed)]);
    assert_eq!(events[0].detail, "n1: pressed; n3: pressed");
    assert!(books.pressed.is_empty());
    assert_healed(&books, &report);
    let (events, ..) = run(Books { traffic: false, ..Books::new() }, schedule(), 10).await;
    assert_eq!(stages(&events)[2..], [(1, NeverBit), (2, NeverBit)]);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_process_is_killed_but_its_links_are_skipped_with_the_reason() {
    let books = Books { foreign: true, ..Books::new() };
    let schedule =
        vec![injection(1, 2, halves(), Targets::Nodes(vec![])), injection(4, 1, Fault::Kill, on(2))];
    let (events, books, report) = run(books, schedule, 10).await;
    assert_eq!(stages(&events), [(1, Skipped), (2, Installed), (2, Healed)]);
    assert_eq!(events[0].detail, "no conditioner");
    assert_healed(&books, &report);
}

#[tokio::test(start_paused = true)]
async fn power_is_lost_where_that_differs_from_a_kill_and_by_those_only_that_have_it() {
    let schedule = |targets: &[u32]| {
        let targets = Targets::Nodes(targets.iter().copied().map(NodeId).collect());
        vec![injection(1, 5, Fault::Kill, on(2)), injection(2, 1, Fault::PowerLoss, targets)]
    };
    let (events, books, report) = run(Books::new(), schedule(&[1, 2, 3]), 10).await;
    assert_eq!(stages(&events), [(1, Installed), (2, Installed), (2, Healed), (1, Healed)]);
    assert_eq!(events[1].detail, "n1: gone; n3: gone");
    assert_healed(&books, &report);
    let (events, books, report) = run(Books { foreign: true, ..Books::new() }, schedule(&[1]), 10).await;
    assert_eq!(stages(&events), [(1, Installed), (2, Skipped), (1, Healed)]);
    assert_eq!(events[1].detail, "it keeps it");
    assert_healed(&books, &report);
}

#[tokio::test(start_paused = true)]
async fn a_power_loss_that_is_known_to_have_lost_nothing_anywhere_never_bit() {
    let synced = |nodes: &[u32]| nodes.iter().copied().map(NodeId).collect();
    let all = || Targets::Nodes((1..=3).map(NodeId).collect());
    let schedule = || vec![injection(1, 2, Fault::PowerLoss, all())];
    let books = Books { synced: synced(&[1, 2]), ..Books::new() };
    let (events, books, report) = run(books, schedule(), 10).await;
    assert_eq!(stages(&events), [(1, Installed), (1, Healed)], "the third had something to lose");
    assert_healed(&books, &report);
    let books = Books { synced: synced(&[1, 2, 3]), ..Books::new() };
    let (events, books, report) = run(books, schedule(), 10).await;
    assert_eq!(stages(&events), [(1, Installed), (1, NeverBit)]);
    assert!(events[1].detail.starts_with("nothing was unsynced when the power went"), "{}", events[1].detail);
    assert_healed(&books, &report);
}

#[tokio::test(start_paused = true)]
async fn those_that_lost_their_power_come_back_although_one_before_them_had_ended_by_itself() {
    let books = Books { ended: BTreeSet::from([NodeId(1)]), ..Books::new() };
    let all = Targets::Nodes((1..=3).map(NodeId).collect());
    let (events, books, report) = run(books, vec![injection(1, 2, Fault::PowerLoss, all)], 10).await;
    assert_eq!(stages(&events), [(1, Installed), (1, Healed)]);
    assert_eq!(events[0].detail, "n2: gone; n3: gone; n1: not done: it ended by itself first");
    assert_healed(&books, &report);
    let books = Books { ended: BTreeSet::from([NodeId(1)]), ..Books::new() };
    let (events, books, report) = run(books, vec![injection(1, 2, Fault::PowerLoss, on(1))], 10).await;
    assert_eq!(stages(&events), [(1, Indeterminate)], "nobody else lost it");
    assert_healed(&books, &report);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_down_is_not_killed_again() {
    let schedule = vec![injection(1, 5, Fault::Kill, on(2)), injection(2, 1, Fault::Pause, on(2))];
    let (events, books, report) = run(Books::new(), schedule, 10).await;
    assert_eq!(stages(&events), [(1, Installed), (2, Skipped), (1, Healed)]);
    assert_eq!(events[1].detail, "n2 is down by fault 1");
    assert_healed(&books, &report);
}

#[tokio::test(start_paused = true)]
async fn a_partition_outlives_a_restart_inside_it() {
    let schedule =
        vec![injection(1, 10, halves(), Targets::Nodes(vec![])), injection(2, 2, Fault::Kill, on(1))];
    let (stop, stopped) = watch::channel(false);
    let runner = Runner::new(Books::new(), schedule, 1, |_| {});
    let stopper = async {
        tokio::time::sleep(Duration::from_secs(6)).await;
        drop(stop);
    };
    let ((world, report), ()) = tokio::join!(runner.run(stopped), stopper);
    assert_healed(&world, &report);
    assert!(
        world.status[&NodeId(1)].outbound.values().any(|c| c.blocked > 0),
        "the new process was not told"
    );
}

#[tokio::test(start_paused = true)]
async fn stopping_in_the_middle_heals_and_says_what_was_left_out() {
    let schedule = vec![
        injection(1, 60, Fault::Kill, on(2)),
        injection(1, 60, halves(), Targets::Nodes(vec![])),
        injection(50, 1, Fault::Pause, on(1)),
    ];
    let (events, books, report) = run(Books::new(), schedule, 5).await;
    assert_eq!(stages(&events), [(1, Installed), (2, Installed), (1, Healed), (2, Healed), (3, Skipped)]);
    assert_healed(&books, &report);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_healed_is_reported() {
    let books = Books { stuck_clock: true, ..Books::new() };
    let (_, _, report) =
        run(books, vec![injection(1, 60, Fault::ClockOffset { offset_ms: 900 }, on(1))], 5).await;
    assert_eq!(report.problems, ["n1: clock still 900000 us off"]);

    let books = Books { restarts_fail: true, ..Books::new() };
    let (events, _, report) = run(books, vec![injection(1, 1, Fault::Kill, on(1))], 5).await;
    assert_eq!(stages(&events), [(1, Installed), (1, Indeterminate)]);
    assert!(report.problems[0].starts_with("n1: "), "{:?}", report.problems);
}

#[tokio::test(start_paused = true)]
async fn a_strobing_clock_goes_there_and_back() {
    let strobe = Fault::ClockStrobe { offset_ms: 300, period: Duration::from_millis(200) };
    let (events, books, report) = run(Books::new(), vec![injection(1, 3, strobe, on(1))], 6).await;
    assert_eq!(stages(&events), [(1, Installed), (1, Healed)]);
    assert_eq!(events[1].detail, "clock was up to 300.0 ms off");
    assert_healed(&books, &report);
}

#[tokio::test(start_paused = true)]
async fn nobody_leads_so_the_fault_is_skipped() {
    let schedule = vec![
        injection(
            1,
            9,
            Fault::Pause,
            Targets::All.resolve(&[1, 2, 3].map(NodeId), Quorums::Majority, &mut rng()),
        ),
        injection(2, 1, Fault::Kill, Targets::Leader),
    ];
    let (events, books, report) = run(Books::new(), schedule, 12).await;
    assert_eq!(stages(&events), [(1, Installed), (2, Skipped), (1, Healed)]);
    assert_eq!(events[1].detail, "nobody leads");
    assert_healed(&books, &report);
}

fn these(nodes: &[u32]) -> Targets {
    Targets::Nodes(nodes.iter().copied().map(NodeId).collect())
}

#[tokio::test(start_paused = true)]
async fn members_leaders_and_disks_change_one_after_the_other() {
    let schedule = vec![
        injection(1, 2, Fault::Members, these(&[2, 3, 4])),
        injection(4, 2, Fault::Wipe, on(1)),
        injection(5, 2, Fault::Wipe, on(4)),
        injection(8, 1, Fault::Transfer, on(3)),
        injection(10, 1, Fault::Transfer, on(3)),
        injection(11, 1, Fault::Transfer, on(1)),
        injection(12, 1, Fault::Members, these(&[2, 3, 4])),
    ];
    let (events, books, report) = run(Books::with_members(), schedule, 20).await;
    assert_eq!(
        stages(&events),
        [
            (1, Installed),
            (1, Healed),
            (2, Skipped),
            (3, Installed),
            (3, Healed),
            (4, Installed),
            (4, Healed),
            (5, Skipped),
            (6, Skipped),
            (7, Skipped)
        ]
    );
    let said: Vec<_> = events.iter().map(|event| event.detail.as_str()).collect();
    assert_eq!(said[..2], ["to vote are n2,n3,n4", "voters are n2,n3,n4"]);
    assert_eq!(said[2], "n1 does not vote, or its disk is damaged");
    assert!(said[3].starts_with("a new disk; to vote are n2,n3,n4"), "{}", said[3]);
    assert_eq!(
        said[6..],
        ["it was seen to lead", "n3 leads already", "n1 does not vote", "they vote already"]
    );
    assert_eq!(books.voters(), [(2, 0), (3, 0), (4, 1)]);
    assert_healed(&books, &report);
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_asks_for_in_vain_never_bit_and_is_a_problem_in_the_end() {
    let schedule = vec![
        injection(1, 2, Fault::Transfer, on(3)),
        injection(4, 2, Fault::Members, these(&[2, 3, 4])),
        injection(7, 1, Fault::Members, these(&[1, 2])),
    ];
    let books = Books { stubborn: true, ..Books::with_members() };
    let (events, _, report) = run(books, schedule, 10).await;
    assert_eq!(stages(&events), [(1, Installed), (1, NeverBit), (2, Installed), (2, NeverBit), (3, Skipped)]);
    assert_eq!(events[4].detail, "fewer than 3 of them have a sound disk");
    assert_eq!(report.problems, ["voters were n1,n2,n3 and are not seen to have become n1,n2,n3,n4"]);
}

#[tokio::test(start_paused = true)]
async fn members_that_cannot_change_are_left_as_they_are_and_no_more_disks_are_lost_than_they_survive() {
    let faults = [
        (Fault::Members, 2),
        (Fault::Transfer, 2),
        (Fault::Wipe, 2),
        (Fault::Wipe, 3),
        (Fault::BitFlip, 1),
        (Fault::Wipe, 2),
    ];
    let schedule = faults.map(|(fault, node)| injection(1, 2, fault, on(node))).to_vec();
    let (events, books, report) = run(Books::new(), schedule, 5).await;
    let fixed = "its members cannot change";
    let too_many = "of 3 replicas no more than 1 may lose their disks";
    let said: Vec<_> = events.iter().map(|event| (event.id, event.stage, event.detail.as_str())).collect();
    assert_eq!(
        said,
        [
            (1, Skipped, fixed),
            (2, Skipped, fixed),
            (3, Installed, "a new disk"),
            (4, Skipped, too_many),
            (5, Skipped, too_many),
            (6, Skipped, "n2 does not vote, or its disk is damaged"),
            (3, Healed, "voters are n1,n2,n3"),
        ]
    );
    assert_eq!(books.disks, [(NodeId(2), Incarnation(1))].into());
    assert_healed(&books, &report);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_disk_is_gone_for_good_where_nobody_can_take_its_place() {
    let (events, books, report) = run(Books::new(), vec![injection(1, 2, Fault::BitFlip, on(2))], 5).await;
    assert_eq!(stages(&events), [(1, Installed), (1, Healed)]);
    assert_eq!(books.up.iter().filter(|(_, up)| !**up).map(|(node, _)| node.0).collect::<Vec<_>>(), [2]);
    assert_eq!(report.crashes, []);
    let (events, books, report) =
        run(Books::with_members(), vec![injection(1, 2, Fault::BitFlip, on(2))], 5).await;
    assert_eq!(stages(&events), [(1, Installed), (1, Healed)]);
    assert_eq!(books.voters(), [(1, 0), (2, 1), (3, 0)]);
    assert_healed(&books, &report);
}

#[tokio::test(start_paused = true)]
async fn a_fault_on_the_leader_waits_for_one_and_then_lasts_as_long_as_it_was_to() {
    let schedule = vec![
        injection(1, 2, Fault::Pause, these(&[1, 2, 3])),
        injection(2, 8, Fault::Kill, Targets::Busiest),
        injection(2, 8, Fault::Partition(Shape::Busiest), these(&[])),
    ];
    let (events, books, report) = run(Books::new(), schedule, 20).await;
    assert_eq!(
        stages(&events),
        [(1, Installed), (1, Healed), (2, Installed), (3, Installed), (2, Healed), (3, Healed)]
    );
    assert_eq!((&*events[2].targets, &*events[3].targets), ("n1", "n2|n1,n3"));
    assert_healed(&books, &report);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_leads_the_busiest_is_whoever_coordinated_most_of_late() {
    let mut books = Books { headed: false, ..Books::new() };
    // The second has done most in all, the third since it was last asked.
    for (node, before) in [(1, 10), (2, 900), (3, 20)] {
        books.status.get_mut(&NodeId(node)).unwrap().core.coordinated = before;
    }
    books.busy = Some((NodeId(3), 40));
    let (events, books, report) = run(books, vec![injection(5, 1, Fault::Kill, Targets::Busiest)], 10).await;
    assert_eq!(stages(&events), [(1, Installed), (1, Healed)]);
    assert_eq!(events[0].targets, "n3");
    assert_healed(&books, &report);
    let idle = Books { headed: false, ..Books::new() };
    let (events, ..) = run(idle, vec![injection(1, 1, Fault::Kill, Targets::Busiest)], 10).await;
    assert_eq!(stages(&events), [(1, Skipped)], "nobody does anything");
}

#[tokio::test(start_paused = true)]
async fn whoever_has_forgotten_what_was_synced_carries_on_and_is_replaced_in_the_end() {
    let cut = Fault::Truncate { bytes: Some(100) };
    let schedule = vec![
        injection(1, 2, cut, on(2)),
        injection(2, 1, Fault::Pause, on(2)),
        injection(4, 3, Fault::Rollback, on(3)),
        injection(5, 1, Fault::Kill, on(3)),
        injection(8, 1, Fault::Wipe, on(2)),
    ];
    let (events, books, report) = run(Books::with_members(), schedule, 12).await;
    assert_eq!(
        stages(&events),
        [
            (1, Installed),
            (2, Skipped),
            (1, Healed),
            (3, Installed),
            (4, Skipped),
            (3, Healed),
            (5, Installed),
            (5, Healed)
        ]
    );
    let said: Vec<_> = events.iter().map(|event| event.detail.as_str()).collect();
    assert_eq!(said[..2], ["n2: gone, 100 bytes cut off", "n2 is down by fault 1"]);
    assert_eq!(said[2], "n2: 3 records are lost, and it carries on as if nothing had happened");
    assert_eq!(said[4], "the disk of n3 is to be rolled back by fault 3");
    assert_eq!(books.voters(), [(1, 0), (2, 1), (3, 1)], "the second has had a new disk already");
    assert!(books.copied.is_empty());
    assert_healed(&books, &report);
}

#[tokio::test(start_paused = true)]
async fn whoever_refuses_a_disk_that_has_forgotten_is_left_with_the_one_it_had() {
    let schedule = || vec![injection(1, 2, Fault::Rollback, on(2))];
    for (comeback, stage) in
        [(Comeback::Refused as fn(String) -> Comeback, Healed), (Comeback::Whole, NeverBit)]
    {
        let books = Books { comeback: Some(comeback), ..Books::with_members() };
        let (events, books, report) = run(books, schedule(), 6).await;
        assert_eq!(stages(&events), [(1, Installed), (1, stage)]);
        assert_eq!(books.voters(), [(1, 0), (2, 0), (3, 0)]);
        assert_healed(&books, &report);
    }
    // Nobody else can take its place: it stays as it is.
    let (events, books, report) = run(Books::new(), schedule(), 6).await;
    assert_eq!(stages(&events), [(1, Installed), (1, Healed)]);
    assert_healed(&books, &report);
    // Nobody is elected to replace it.
    let books = Books { stubborn: true, ..Books::with_members() };
    let (_, _, report) = run(books, schedule(), 6).await;
    assert_eq!(report.problems, ["voters were n1,n2,n3 and are not seen to have become n1,n2i1,n3"]);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_has_bitten_if_one_disk_has_forgotten() {
    let books = Books { synced: BTreeSet::from([NodeId(2)]), ..Books::new() };
    let (events, books, report) = run(books, vec![injection(1, 2, Fault::Rollback, these(&[2, 3]))], 6).await;
    assert_eq!(stages(&events), [(1, Installed), (1, Healed)]);
    assert_healed(&books, &report);
}

#[tokio::test(start_paused = true)]
async fn whoever_may_have_forgotten_is_started_again_and_replaced_and_not_accused() {
    let books = Books { lost: BTreeSet::from([NodeId(2)]), ..Books::with_members() };
    let (events, books, report) = run(books, vec![injection(1, 2, Fault::Rollback, on(2))], 6).await;
    assert_eq!(stages(&events), [(1, Installed), (1, Indeterminate)]);
    assert_eq!(report.crashes, []);
    assert_eq!(
        report.problems,
        ["n2: it did not come back on a disk that was to forget: no room for its disk"]
    );
    assert!(books.up.values().all(|up| *up), "a node is down");
    assert_eq!(books.voters(), [(1, 0), (2, 1), (3, 0)]);

    let cut = || vec![injection(1, 2, Fault::Truncate { bytes: Some(100) }, on(2))];
    let (events, books, report) = run(Books { cuts_fail: true, ..Books::with_members() }, cut(), 6).await;
    assert_eq!(stages(&events), [(1, Indeterminate)]);
    assert_eq!(books.voters(), [(1, 0), (2, 1), (3, 0)]);
    assert_healed(&books, &report);
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_at_a_full_disk_is_started_again_and_not_accused() {
    let schedule = || {
        vec![
            injection(1, 3, Fault::DiskFull, on(2)),
            injection(2, 1, Fault::Kill, on(2)),
            injection(2, 1, halves(), these(&[])),
        ]
    };
    let (events, books, report) = run(Books::new(), schedule(), 8).await;
    assert_eq!(
        stages(&events),
        [(1, Installed), (2, Skipped), (3, Installed), (3, Healed), (1, Healed)],
        "{events:?}"
    );
    assert_eq!(events[1].detail, "n2 has stopped at its full disk, by fault 1");
    assert_eq!(events[4].detail, "n2: it stopped: writing: No space left on device; with room: up");
    assert_healed(&books, &report);

    let idle = Books { traffic: false, ..Books::new() };
    let (events, books, report) = run(idle, schedule()[..2].to_vec(), 8).await;
    assert_eq!(stages(&events), [(1, Installed), (2, Skipped), (1, NeverBit)]);
    assert_eq!(events[1].detail, "the disk of n2 is full by fault 1");
    assert_healed(&books, &report);

    // Who ends for another reason is accused all the same.
    let broken = Books { last_words: Some((ExitKind::Panic, "assertion failed")), ..Books::new() };
    let (_, _, report) = run(broken, schedule()[..1].to_vec(), 8).await;
    let exit = Exit { how: ExitKind::Panic, words: "assertion failed".into() };
    assert_eq!(report.crashes[0], (NodeId(2), exit));
}

fn rng() -> impl rand::Rng {
    <rand_xoshiro::Xoshiro256PlusPlus as rand::SeedableRng>::seed_from_u64(1)
}
