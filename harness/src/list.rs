//! `gauntlet list`: what there is to choose from.

use crate::campaign::PLANS;
use crate::plan::Plan;
use crate::subject::System;
use nemesis::Fault;
use std::path::Path;

/// Prints subjects, workloads, faults and plans.
///
/// # Errors
/// If the folder of plans cannot be read.
pub(crate) fn print() -> anyhow::Result<()> {
    println!("subjects");
    for system in System::ALL {
        println!("  {:<12} {}", system.name(), system.description());
    }
    println!("workloads\n  {}", workloads::spec::NAMES.join(", "));
    println!("faults\n  {}", Fault::NAMES.join(", "));
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

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn about(file: &Path) -> String {
    match Plan::load(file) {
        Ok(plan) => plan.about,
        Err(error) => format!("cannot be read: {error:#}"),
    }
}
