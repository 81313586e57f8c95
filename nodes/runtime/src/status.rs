//! What a node says about itself, and what it lets be done to it.

use crate::control::Leased;
use crate::driver::Driver;
use crate::metrics::Page;
use crate::outlets::Outlets;
use kv::Serves;
use protocol::control::{ClockSetting, ControlReply, ControlRequest, LinkConditions, NodeStatus};
use protocol::{NodeId, Time};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

impl<P: Serves> Driver<P> {
    pub(crate) fn control(&mut self, now: Time, request: ControlRequest) -> ControlReply {
        let done = match request {
            ControlRequest::Status => Ok(()),
            ControlRequest::SetLinks { links, lease_ms } => self.set_links(&links, lease_ms),
            ControlRequest::SetClock { clock, lease_ms } => self.set_clock(clock, lease_ms),
            ControlRequest::SetAdversary { spec, lease_ms } => self.set_adversary(spec, lease_ms),
            ControlRequest::SetRoutes { routes } => {
                tracing::info!(?routes, "routes set");
                self.outlets.routes.set(routes)
            }
            ControlRequest::SetDisk { full, lease_ms } => {
                tracing::info!(full, lease_ms, "disk set");
                self.fullness.set(full);
                self.lease(Leased::Disk, full, lease_ms);
                Ok(())
            }
            ControlRequest::Renew { lease_ms } => {
                self.leases.renew(self.outlets.machine, lease_ms);
                Ok(())
            }
            ControlRequest::Heal => {
                Leased::ALL.into_iter().for_each(|fault| self.heal(fault));
                self.outlets.routes.set(BTreeMap::new())
            }
            ControlRequest::Admin(request) => {
                tracing::info!(?request, "an operator asks");
                let reply = self.turns.input(|core, out| core.handle_admin(now, request, out));
                tracing::info!(?reply, "the operator is answered");
                return ControlReply::Admin(reply);
            }
        };
        match done {
            Ok(()) => ControlReply::Ok(Box::new(self.status())),
            Err(reason) => ControlReply::Error(reason),
        }
    }

    /// What was set is a fault from now on, or is none.
    fn lease(&mut self, what: Leased, is_fault: bool, lease_ms: u64) {
        if is_fault {
            self.leases.begin(what, self.outlets.machine, lease_ms);
        } else {
            self.leases.end(what);
        }
    }

    fn set_links(&mut self, links: &BTreeMap<NodeId, LinkConditions>, lease_ms: u64) -> Result<(), String> {
        self.outlets.links.set(self.outlets.machine, links)?;
        tracing::info!(?links, lease_ms, "link conditions set");
        self.lease(Leased::Links, !self.outlets.links.conditions().is_empty(), lease_ms);
        Ok(())
    }

    fn set_clock(&mut self, clock: ClockSetting, lease_ms: u64) -> Result<(), String> {
        self.clock.set(self.outlets.machine, clock)?;
        tracing::info!(?clock, lease_ms, "clock set");
        self.lease(Leased::Clock, clock != ClockSetting::default(), lease_ms);
        Ok(())
    }

    fn set_adversary(&mut self, spec: Option<Value>, lease_ms: u64) -> Result<(), String> {
        let adversary = spec.as_ref().map(P::Adversary::deserialize).transpose();
        let adversary = adversary.map_err(|error| format!("no adversary of {}: {error}", self.protocol))?;
        tracing::info!(?adversary, lease_ms, "adversary set");
        self.lease(Leased::Adversary, adversary.is_some(), lease_ms);
        self.turns.set_adversary(adversary);
        self.adversary = spec;
        Ok(())
    }

    pub(crate) fn heal(&mut self, fault: Leased) {
        let machine = self.outlets.machine;
        match fault {
            Leased::Links => {
                let clear = self.outlets.links.set(machine, &BTreeMap::new());
                clear.expect("clear links are always allowed");
            }
            Leased::Clock => {
                let right = self.clock.set(machine, ClockSetting::default());
                right.expect("a true clock is always allowed");
            }
            Leased::Disk => self.fullness.set(false),
            Leased::Adversary => {
                self.turns.set_adversary(None);
                self.adversary = None;
            }
        }
        self.leases.end(fault);
    }

    fn status(&mut self) -> NodeStatus {
        let Outlets { routes, machine, links, .. } = &self.outlets;
        let (outbound, inbound) = links.counters();
        let (outbound_kinds, inbound_kinds) = links.kind_counters();
        NodeStatus {
            node: routes.me(),
            replica: routes.replica(),
            pid: std::process::id(),
            protocol: self.protocol.to_owned(),
            core: self.turns.core().status(),
            links: links.conditions(),
            outbound,
            inbound,
            outbound_kinds,
            inbound_kinds,
            clock: self.clock.setting(),
            clock_error_us: self.clock.error_us(*machine),
            disk_full: self.fullness.is_full(),
            writes_refused: self.fullness.refused(),
            routes: routes.told().clone(),
            adversary: self.adversary.clone(),
            tampered: self.turns.tampered(),
            leases_expired: self.leases.expired,
        }
    }

    /// The page at `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        let mut page = Page::default();
        let core = self.turns.core().status();
        page.gauge("node_is_leader", "1 if it leads.", u8::from(core.leads));
        page.gauge("node_serves", "1 if it believes that it can answer clients.", u8::from(core.serves));
        page.gauge("node_epoch", "Term, view or ballot.", core.epoch);
        page.gauge(
            "node_applied",
            "Log entries, instances or changes whose effects are in the state.",
            core.state.count,
        );
        page.gauge("node_behind", "The same that are decided and not applied yet.", core.behind);
        page.gauge("node_keys", "Keys in the state.", core.keys);
        for (name, value) in &core.metrics {
            page.gauge(&format!("core_{name}"), "The protocol's own number of this name.", value);
        }
        let turns = &self.counters;
        page.seconds(
            "driver_turn_seconds",
            "Turns of the core, syncs on its thread included.",
            &[("core", &turns.turns)],
        );
        page.gauge("driver_turn_seconds_max", "The longest turn.", turns.turns.longest.as_secs_f64());
        page.counter("driver_events_total", "Events that the turns took.", turns.events);
        page.gauge("driver_events_in_turn_max", "Events of the largest turn.", turns.events_in_turn_max);
        page.counter("driver_timers_total", "Timers that fired.", turns.timers_fired);
        page.counter("client_requests_total", "Requests of clients, HTTP included.", turns.requests);
        page.counter(
            "client_replies_total",
            "Replies to clients, HTTP included.",
            self.outlets.clients.replies,
        );
        page.gauge("client_connections", "Open client connections.", self.outlets.clients.connections());
        page.counter(
            "client_dropped_slow_total",
            "Clients dropped unread.",
            self.outlets.clients.dropped_slow,
        );
        self.peer_metrics(&mut page);
        let journal = &self.outlets.journal.counters;
        page.counter("journal_records_total", "Records appended.", journal.records);
        page.counter("journal_bytes_total", "Bytes written, without zeroes ahead.", journal.bytes);
        page.seconds(
            "journal_sync_seconds",
            "Time of a group commit: write and fdatasync, on the core's thread or another.",
            &[("core", &journal.syncs_inline), ("thread", &journal.syncs_on_thread)],
        );
        let longest = journal.syncs_inline.longest.max(journal.syncs_on_thread.longest);
        page.gauge("journal_sync_seconds_max", "The longest group commit.", longest.as_secs_f64());
        page.gauge("process_cpu_seconds_total", "Processor time used.", cpu_seconds());
        page.finish()
    }

    fn peer_metrics(&self, page: &mut Page) {
        page.counter("peer_messages_in_total", "Messages from peers.", self.counters.messages_in);
        page.counter("peer_messages_out_total", "Messages to peers.", self.outlets.messages_out);
        page.gauge(
            "peer_connections",
            "Peers that this node can send to now.",
            self.outlets.links.connections(),
        );
        let losses = self.outlets.links.losses();
        page.labelled(
            ("peer_unconnected_total", "counter", "Messages lost because there was no connection."),
            "peer",
            losses.iter().map(|(peer, losses)| (peer, losses.unconnected)),
        );
        page.labelled(
            ("peer_backlog_total", "counter", "Messages lost because the peer did not read."),
            "peer",
            losses.iter().map(|(peer, losses)| (peer, losses.backlog)),
        );
        let (outbound, inbound) = self.outlets.links.counters();
        for (direction, counters) in [("out", outbound), ("in", inbound)] {
            page.labelled(
                (&format!("link_{direction}_passed_total"), "counter", "Messages that passed the link."),
                "peer",
                counters.iter().map(|(peer, counters)| (peer, counters.passed)),
            );
            page.labelled(
                (&format!("link_{direction}_blocked_total"), "counter", "Messages lost on a blocked link."),
                "peer",
                counters.iter().map(|(peer, counters)| (peer, counters.blocked)),
            );
        }
    }
}

/// Of this process since it started.
fn cpu_seconds() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}
