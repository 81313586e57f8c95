//! `gauntlet list`: what there is to choose from.

use crate::campaign::PLANS;
use crate::plan::Plan;
use crate::subject::{Properties, System};
use nemesis::Fault;
use protocol::quorum::Budget;
use reports::table::framed;
use std::path::Path;
use tabled::builder::Builder;
use workloads::Spec;

/// Prints subjects, workloads, faults, keys that are about machines, and plans.
///
/// # Errors
/// If the folder of plans cannot be read.
pub(crate) fn print() -> anyhow::Result<()> {
    println!("subjects\n{}", subjects());
    println!("workloads\n  {}", workloads::spec::NAMES.join(", "));
    println!("faults\n  {}", Fault::NAMES.join(", "));
    println!("of the machines, a plan may say");
    for (key, about) in MACHINES {
        println!("  {key:<16} {about}");
    }
    println!("plans");
    let Ok(entries) = std::fs::read_dir(PLANS) else {
        println!("  (there is no folder `{PLANS}` here)");
        return Ok(());
    };
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "yaml")) {
        println!("  {:<12} {}", stem(file), about(file));
    }
    Ok(())
}

/// Keys of plans that are about where nodes run.
const MACHINES: [(&str, &str); 3] = [
    ("links", "zones of nodes and clients, and the round trips between them"),
    ("cpu_quota", "how many processors each node may use, by control groups"),
    ("journal_sync_min", "how long a sync of a journal takes at least"),
];

/// What there is to know of each subject, one column each: there are more properties than fit beside each other.
fn subjects() -> String {
    let mut columns = vec![HEADER.map(str::to_owned)];
    for system in System::all() {
        let Properties {
            name,
            about,
            program: _,
            is_example,
            promise,
            quorums,
            replicas,
            leads,
            client,
            changes_members,
            marks,
            clocks,
            reads,
            durability,
            adversaries,
            workloads,
        } = system.properties();
        let Budget { crash, lie, serves } = quorums.budget(replicas.unwrap_or(BUDGET_OF) as usize);
        let mut reads: Vec<&str> = reads.iter().map(|(_, words)| *words).collect();
        reads.dedup();
        let durability: Vec<&str> = durability.iter().map(|durability| durability.name()).collect();
        let yes = |yes: bool| if yes { "yes" } else { "–" };
        columns.push([
            if *is_example { format!("{name} (example)") } else { (*name).to_owned() },
            promise.name().to_owned(),
            format!("{crash} gone, {lie} lying; {serves} serve"),
            yes(*leads).to_owned(),
            client.name().to_owned(),
            yes(*changes_members).to_owned(),
            yes(marks.is_ok()).to_owned(),
            clocks.name().to_owned(),
            reads.join(", "),
            durability.join(", "),
            asked(*workloads),
            if adversaries.is_empty() { "–".to_owned() } else { adversaries.join(", ") },
            (*about).to_owned(),
        ]);
    }
    let row = |property: usize| columns.iter().map(move |column| &column[property]);
    let table: Builder = (0..HEADER.len()).map(row).collect();
    framed(table.build())
}

/// Which workloads a subject can have.
fn asked(can_have: fn(&Spec) -> Result<(), &'static str>) -> String {
    let all: Vec<Spec> = workloads::spec::NAMES.iter().filter_map(|name| Spec::by_name(name).ok()).collect();
    let some: Vec<&str> = all.iter().filter(|spec| can_have(spec).is_ok()).map(|spec| spec.name()).collect();
    if some.len() == all.len() { "all".to_owned() } else { some.join(", ") }
}

/// Of how many replicas the table says what they survive.
const BUDGET_OF: u32 = 5;

const HEADER: [&str; 13] = [
    "subject",
    "promise",
    "of 5 replicas",
    "leader",
    "clients ask",
    "members change",
    "states compared",
    "clocks for",
    "reads",
    "durability",
    "workloads",
    "lies",
    "about",
];

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn about(file: &Path) -> String {
    match Plan::load(file) {
        Ok(plan) => plan.about,
        Err(error) => format!("cannot be read: {error:#}"),
    }
}
