//! Makes the table of subjects: each file in `src/subjects/` is one, with a constant `SYSTEM`. So a subject is added by adding
//! its file.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Files of that folder that are no subject.
const OTHERS: [&str; 2] = ["mod", "tests"];

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let folder = root.join("src/subjects");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of subjects")
        .map(|entry| entry.expect("an entry of it").path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .filter(|file| !OTHERS.contains(&name(file)))
        .collect();
    files.sort();
    let mut code = String::new();
    for file in &files {
        writeln!(code, "#[path = {file:?}]\nmod {};", name(file)).expect("a string takes all");
    }
    let entries: Vec<_> = files.iter().map(|file| format!("{}::SYSTEM", name(file))).collect();
    write!(code, "pub(crate) static ALL: &[System] = &[{}];", entries.join(", "))
        .expect("a string takes all");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("set by cargo")).join("subjects.rs");
    std::fs::write(out, code).expect("the output folder is writable");
}

fn name(file: &Path) -> &str {
    file.file_stem().and_then(|stem| stem.to_str()).expect("a module's name")
}
