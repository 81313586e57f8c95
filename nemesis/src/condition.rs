//! What is in force on each node, all faults together, and how nodes are told.

use crate::action::{Action, Evidence, InjectError};
use crate::disk::DiskCondition;
use crate::hold::Hold;
use crate::links::{self, LinkFault};
use crate::machine::{Nemesis, Stage};
use crate::world::World;
use protocol::NodeId;
use protocol::control::{ClockSetting, LinkConditions};
use std::collections::BTreeMap;

/// How a node's links, clock and disk are to be.
#[derive(Clone, Debug, Default, PartialEq)]
struct Condition {
    links: BTreeMap<NodeId, LinkConditions>,
    clock: ClockSetting,
    disk: DiskCondition,
}

/// What a node was told last.
#[derive(Debug, Default)]
pub(crate) struct Told {
    links: Part<BTreeMap<NodeId, LinkConditions>>,
    clock: Part<ClockSetting>,
    disk: Part<DiskCondition>,
}

/// A part of what a node was told.
#[derive(Debug, Default)]
struct Part<T> {
    last: T,
    /// Whether the node is like that: not if it could not be told, or its process began anew.
    is_unsure: bool,
}

impl<T: Default + PartialEq + Clone> Part<T> {
    fn needs(&self, wanted: &T) -> bool {
        self.is_unsure || self.last != *wanted
    }

    fn tried(&mut self, wanted: T, worked: bool) {
        if worked {
            self.last = wanted;
        }
        self.is_unsure = !worked;
    }

    /// The node has forgotten what it was told: only that it has nothing to forget is sure.
    fn forget(&mut self) {
        self.is_unsure |= self.last != T::default();
    }

    fn is_clear(&self) -> bool {
        !self.is_unsure && self.last == T::default()
    }
}

impl Told {
    /// The node's process began anew, or its lease may have run out.
    pub(crate) fn forget(&mut self) {
        self.links.forget();
        self.clock.forget();
        self.disk.forget();
    }

    fn is_clear(&self) -> bool {
        self.links.is_clear() && self.clock.is_clear() && self.disk.is_clear()
    }
}

/// Both at once: offsets add, rates multiply.
fn both(a: ClockSetting, b: ClockSetting) -> ClockSetting {
    ClockSetting { offset_us: a.offset_us + b.offset_us, rate: a.rate * b.rate }
}

impl Nemesis {
    fn conditions(&self) -> BTreeMap<NodeId, Condition> {
        let is_sheltered =
            |node: &NodeId| matches!(&self.stage, Stage::Healing { saved } if saved.contains(node));
        let link_faults: Vec<LinkFault> = self
            .active
            .values()
            .filter_map(|active| active.hold.links())
            .map(|fault| {
                let in_force = |(from, to): &&(NodeId, NodeId)| !is_sheltered(from) || !is_sheltered(to);
                let directions = fault.directions.iter().filter(in_force).copied().collect();
                LinkFault { directions, ..fault.clone() }
            })
            .collect();
        let mut links = links::combine(link_faults.iter());
        let mut condition = |node: NodeId| {
            let mut condition =
                Condition { links: links.remove(&node).unwrap_or_default(), ..Condition::default() };
            for active in self.active.values().filter(|_| !is_sheltered(&node)) {
                if let Hold::Clock { nodes, setting, strobe, .. } = &active.hold
                    && nodes.contains(&node)
                    && strobe.as_ref().is_none_or(|strobe| strobe.ahead)
                {
                    condition.clock = both(condition.clock, *setting);
                }
                if let Hold::Disk { nodes, condition: disk, .. } = &active.hold
                    && nodes.contains(&node)
                {
                    condition.disk = condition.disk.and(*disk);
                }
            }
            condition
        };
        self.group.nodes.iter().map(|node| (*node, condition(*node))).collect()
    }

    /// Tells every node that can be told what is in force on its links, clock and disk, where it may not know. One that cannot be
    /// told now is told at the next time.
    pub(crate) async fn apply(&mut self, world: &mut impl World) -> Vec<InjectError> {
        let mut errors = Vec::new();
        for (node, Condition { links, clock, disk }) in self.conditions() {
            // Links and clock are told to the process; a disk is there without one.
            let is_there = self.occupied(node).is_none();
            let mut told = self.told.remove(&node).unwrap_or_default();
            if is_there && told.links.needs(&links) {
                let tried = self.tell(Action::Links(node, links.clone()), world).await;
                told.links.tried(links, tried.is_ok());
                errors.extend(tried.err());
            }
            if is_there && told.clock.needs(&clock) {
                let tried = self.tell(Action::Clock(node, clock), world).await;
                told.clock.tried(clock, tried.is_ok());
                errors.extend(tried.err());
            }
            if told.disk.needs(&disk) {
                let tried = self.tell(Action::Disk(node, disk), world).await;
                told.disk.tried(disk, tried.is_ok());
                errors.extend(tried.err());
            }
            if !told.is_clear() {
                self.told.insert(node, told);
            }
        }
        errors
    }

    async fn tell(&mut self, action: Action, world: &mut impl World) -> Result<(), InjectError> {
        let evidence = world.carry_out(&action).await?;
        if let Evidence::Read(reading) = &evidence {
            self.observe(reading);
        } else if let Some(node) = action.node() {
            self.said.push(format!("{node}: {}", evidence.words()));
        }
        Ok(())
    }

    /// A node's process began anew, or stood still while its leases ran out.
    pub(crate) fn has_forgotten(&mut self, node: NodeId) {
        if let Some(told) = self.told.get_mut(&node) {
            told.forget();
        }
    }

    /// Tells all again what is not as it should be, so that their leases do not run out.
    pub async fn renew(&mut self, world: &mut impl World) {
        self.told.values_mut().for_each(Told::forget);
        // A node that cannot be told now (it has crashed, it is starting) is told at the next time.
        for error in self.apply(world).await {
            tracing::debug!(%error, "renewing");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_told_again_when_the_node_may_not_know_it() {
        let mut part = Part::default();
        assert!(part.needs(&3) && !part.needs(&0) && part.is_clear());
        part.tried(3, true);
        assert!(!part.needs(&3) && part.needs(&0) && !part.is_clear());
        part.forget();
        assert!(part.needs(&3), "a new process knows nothing of it");
        part.tried(0, false);
        assert!(part.needs(&0) && !part.is_clear(), "it may be in force still");
        part.tried(0, true);
        part.forget();
        assert!(part.is_clear(), "there is nothing to forget");
    }

    #[test]
    fn offsets_of_clocks_add_and_rates_multiply() {
        let clock = |offset_us, rate| ClockSetting { offset_us, rate };
        assert_eq!(both(both(clock(5, 2.0), clock(-8, 1.0)), clock(0, 1.5)), clock(-3, 3.0));
    }
}
