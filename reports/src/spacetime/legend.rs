//! What the colours and marks of a picture mean.

use super::draw::REIGN;
use super::marks::short;
use super::view::{Fate, TurnKind, View};
use crate::draw::frame::{Key, Sign};
use crate::draw::ink::Ink;
use crate::draw::scene::Shape;
use crate::trace::{Event, What};
use std::collections::{BTreeMap, BTreeSet};

/// A hue for each kind of message, the most frequent of the run first: the same in all its pictures.
pub(super) fn inks(events: &[Event]) -> BTreeMap<&str, Ink> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for event in events {
        if let What::Sent { kind, .. } = &event.what {
            *counts.entry(kind).or_default() += 1;
        }
    }
    let mut kinds: Vec<_> = counts.into_iter().collect();
    kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
    kinds.into_iter().enumerate().map(|(n, (kind, _))| (kind, Ink::nth(n))).collect()
}

/// What is in the picture, in words.
pub(super) fn legend(view: &View<'_>, inks: &BTreeMap<&str, Ink>) -> Vec<Key> {
    let key = |ink, sign, label: &str| Key { ink, sign, label: label.to_owned() };
    let there: BTreeSet<&str> = view.messages.iter().map(|message| message.kind).collect();
    let kinds = there.iter().map(|kind| key(inks[kind], Sign::Line, &format!("{} {kind}", short(kind))));
    let mut keys: Vec<Key> = kinds.collect();
    if view.messages.iter().any(|message| message.repeats) {
        keys.push(key(Ink::Axis, Sign::Line, "thin, without name: nothing new to its receiver"));
    }
    if view.messages.iter().any(|message| matches!(message.fate, Fate::Lost(..))) {
        keys.push(key(Ink::Muted, Sign::Mark(Shape::Cross), "lost"));
    }
    if !view.reigns.is_empty() {
        keys.push(key(REIGN, Sign::Solid, "leads, in the term (view, ballot) of this number"));
    }
    if !view.durable.is_empty() {
        keys.push(key(Ink::Hue(6), Sign::Mark(Shape::Dot), "records reach the disk"));
    }
    if view.ops.iter().any(|op| !op.culprit) {
        keys.push(key(Ink::Fail, Sign::Box, "a client's op, at the replica it went to"));
    }
    if view.ops.iter().any(|op| op.culprit) {
        keys.push(key(Ink::Danger, Sign::Solid, "ops that cannot be explained together"));
    }
    if view.absences.iter().any(|absence| absence.down.is_some()) {
        keys.push(key(Ink::Text, Sign::Mark(Shape::Cross), "stops, and is down"));
    }
    if view.turns.iter().any(|turn| turn.kind == TurnKind::Starts) {
        keys.push(key(Ink::Text, Sign::Mark(Shape::Triangle), "starts"));
    }
    if view.absences.iter().any(|absence| absence.down.is_none()) {
        keys.push(key(Ink::Hue(1), Sign::Box, "paused"));
    }
    keys
}
