//! Histories of other tools, with the verdicts that they are known to have. They lie beside the project, never in it.

use std::io::Read;
use std::path::PathBuf;

/// A file below the folder of histories; says so and gives `None` if it is not there.
pub(crate) fn file(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/histories")).join(name);
    if path.exists() {
        return Some(path);
    }
    println!("{} is absent: nothing is judged", path.display());
    None
}

/// The text of a file that may be compressed.
pub(crate) fn text(path: &PathBuf) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut text = String::new();
    let read = if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text)
    } else {
        (&bytes[..]).read_to_string(&mut text)
    };
    read.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text
}

/// The rows of a folder's index: the file, and the columns of these names.
pub(crate) fn index<const N: usize>(folder: &str, columns: [&str; N]) -> Vec<[String; N]> {
    let Some(path) = file(&format!("{folder}/EXPECTED.tsv")) else { return Vec::new() };
    let text = text(&path);
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("an index has a header").split('\t').collect();
    let places =
        columns.map(|column| header.iter().position(|name| *name == column).expect("the column is there"));
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            places.map(|place| cells.get(place).copied().unwrap_or_default().to_string())
        })
        .collect()
}
