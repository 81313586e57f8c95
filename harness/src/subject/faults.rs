//! Which faults a subject can have, and where: known before anything starts.

use super::{ClientKind, Clocks, Subject};
use nemesis::{Fault, NemesisSpec, Shape, Targets};
use runtime::Durability;
use std::collections::BTreeMap;

/// Where a plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In virtual time.
    Virtual,
    /// By processes on this machine.
    Here,
    /// By processes on hosts of their own.
    Hosts,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Place::Virtual => "in virtual time",
            Place::Here => "in the local world",
            Place::Hosts => "in the ssh world",
        }
    }
}

/// The reason why a subject with this number of replicas cannot have a fault on these targets; `None` if it can. What depends on the
/// hosts' kernels is found out when the fault comes.
pub(crate) fn cannot_have(
    subject: &Subject,
    replicas: u32,
    place: Place,
    fault: &Fault,
    targets: &Targets,
) -> Option<&'static str> {
    let properties = subject.system.properties();
    let is_foreign_here = !subject.system.is_ours() && place == Place::Here;
    let needs_leader = matches!(targets, Targets::Leader | Targets::Followers);
    let unless = |may: bool, why: &'static str| (!may).then_some(why);
    let on_disk = || unless(subject.durability == Durability::Fsync, "nothing of it is on disk");
    let on_processes = || unless(place != Place::Virtual, "only on processes");
    let in_virtual_time = || unless(place == Place::Virtual, "only in virtual time");
    let link = || {
        unless(replicas > 1, "one node has no links").or_else(|| {
            unless(
                !is_foreign_here,
                "the links of a foreign process are those of this machine, which stay as they are",
            )
        })
    };
    let clock = || {
        unless(properties.clocks != Clocks::None, "it uses no clock").or_else(|| {
            unless(!is_foreign_here, "the clock of a foreign process is this machine's, which stays as it is")
        })
    };
    let one_may_be_gone = || {
        let survives = properties.quorums.budget(replicas as usize).crash > 0;
        unless(survives, "it does not survive the loss of a disk")
            .or_else(|| unless(subject.system.is_ours(), "it is a foreign process"))
    };
    if needs_leader && !properties.leads {
        return Some("nobody leads");
    }
    let wants_busiest = *targets == Targets::Busiest || *fault == Fault::Partition(Shape::Busiest);
    if wants_busiest && !properties.leads && properties.client == ClientKind::Matching {
        return Some("clients ask all of its replicas alike, so none is the busiest");
    }
    match fault {
        Fault::Kill | Fault::Pause => None,
        Fault::Partition(Shape::Leader | Shape::LeaderDeaf) if !properties.leads => Some("nobody leads"),
        Fault::Partition(_)
        | Fault::Delay { .. }
        | Fault::Loss { .. }
        | Fault::Duplicate { .. }
        | Fault::Reorder { .. }
        | Fault::Rate { .. } => link(),
        Fault::ClockOffset { .. } | Fault::ClockRate { .. } | Fault::ClockStrobe { .. } => clock(),
        Fault::CpuPressure { .. } | Fault::MemoryPressure { .. } => on_processes(),
        Fault::DiskStall | Fault::DiskSlow { .. } => in_virtual_time().or_else(on_disk),
        Fault::PowerLoss => on_disk(),
        Fault::DiskFull => {
            on_disk().or_else(|| unless(!is_foreign_here, "the disk of a foreign process is this machine's"))
        }
        Fault::Truncate { .. } | Fault::Rollback => on_processes().or_else(on_disk),
        Fault::BitFlip | Fault::Wipe => on_disk().or_else(one_may_be_gone),
        Fault::Members => unless(properties.changes_members, "its members cannot change"),
        Fault::Transfer => unless(properties.changes_members, "nobody can be asked to lead"),
    }
}

/// What of a nemesis a subject can have, line by line (a line of which nothing is left has no faults), and what is left out, in words.
pub(crate) fn possible(
    subject: &Subject,
    replicas: u32,
    place: Place,
    nemesis: &[NemesisSpec],
) -> (Vec<NemesisSpec>, Vec<String>) {
    let (mut lines, mut left_out) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(nemesis) {
        let mut reasons: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        let mut faults = line.faults.clone();
        faults.retain(|fault| match cannot_have(subject, replicas, place, fault, &line.targets) {
            None => true,
            Some(why) => {
                reasons.entry(why).or_default().push(fault.name());
                false
            }
        });
        left_out.extend(
            reasons.into_iter().map(|(why, names)| format!("line {number} ({}): {why}", names.join(", "))),
        );
        lines.push(NemesisSpec { faults, ..line.clone() });
    }
    (lines, left_out)
}

/// A line of a nemesis that none of these subjects can have, in words; `subjects`: each with how many replicas it has.
pub(crate) fn impossible(
    subjects: &[(&Subject, u32)],
    place: Place,
    nemesis: &[NemesisSpec],
) -> Option<String> {
    let of_each: Vec<_> =
        subjects.iter().map(|(subject, replicas)| possible(subject, *replicas, place, nemesis).0).collect();
    let nobody_has =
        |line: &usize| !of_each.is_empty() && of_each.iter().all(|of| of[*line].faults.is_empty());
    let line = (0..nemesis.len()).find(nobody_has)?;
    let why = subjects.iter().filter_map(|(subject, replicas)| {
        let spec = &nemesis[line];
        let why =
            spec.faults.iter().find_map(|fault| cannot_have(subject, *replicas, place, fault, &spec.targets));
        Some(format!("{}: {}", subject.name, why?))
    });
    let names: Vec<_> = nemesis[line].faults.iter().map(Fault::name).collect();
    Some(format!(
        "line {} of the nemesis ({}) cannot be had {}: {}",
        line + 1,
        names.join(", "),
        place.name(),
        why.collect::<Vec<_>>().join("; ")
    ))
}
