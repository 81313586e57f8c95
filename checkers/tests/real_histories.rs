//! Histories of other tools are judged as their index says.

use crate::support::data::{file, index, text};
use crate::support::elle;
use crate::support::foreign::{etcd_log, knossos_register, synthetic};
use checkers::history::History;
use checkers::linearizability::{LinearizabilityOptions, check_append, check_linearizable};
use checkers::verdict::{CheckResult, Verdict, WINDOW_OPS_MAX};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::time::Duration;

fn judge(history: &History) -> CheckResult {
    let options = LinearizabilityOptions { deadline: Duration::from_secs(30), memory_bytes_max: 4 << 30 };
    check_linearizable(history, &options)
}

/// Asserts a verdict, and that one which is not valid is shown.
fn expect(name: &str, expected: &str, result: &CheckResult) {
    let verdict = match expected {
        "linearizable" => Verdict::Valid,
        "not-linearizable" => Verdict::Invalid,
        other => panic!("{name}: {other}"),
    };
    assert_eq!(result.verdict, verdict, "{name}: {}", result.summary);
    for evidence in &result.evidence {
        assert!(evidence.window.len() <= WINDOW_OPS_MAX, "{name}");
        assert!(evidence.window.iter().any(|op| op.culprit), "{name}");
    }
    assert_eq!(result.evidence.is_empty(), verdict == Verdict::Valid, "{name}");
}

#[test]
fn etcd_logs_of_porcupine() {
    for [name, model, expected] in index("porcupine", ["file", "model", "expected"]) {
        if model.starts_with("cas-register") {
            let path = file(&format!("porcupine/{name}")).expect("the index names files that are there");
            expect(&name, &expected, &judge(&etcd_log(&text(&path))));
        }
    }
}

#[test]
fn registers_of_knossos() {
    for [name, model, initial, expected] in index("knossos", ["file", "model", "init", "expected"]) {
        if model == "CASRegister" {
            let path = file(&format!("knossos/{name}")).expect("the index names files that are there");
            let initial = match initial.as_str() {
                "{:value 0}" => Some(0),
                "{:value nil}" => None,
                other => panic!("{other}"),
            };
            expect(&name, &expected, &judge(&knossos_register(&text(&path), initial)));
        }
    }
}

#[test]
fn synthetic_registers() {
    for [name, expected] in index("synthetic", ["file", "expected"]) {
        let path = file(&format!("synthetic/{name}")).expect("the index names files that are there");
        let history = synthetic(&text(&path));
        expect(&name, &expected, &judge(&history));
    }
}

/// Whether Elle's verdict, for strict serializability, is ours.
fn expect_append(name: &str, is_valid: bool, history: &History) {
    let result = check_append(history, Duration::from_secs(60));
    let verdict = if is_valid { Verdict::Valid } else { Verdict::Invalid };
    assert_eq!(result.verdict, verdict, "{name}: {}", result.summary);
    assert_eq!(result.evidence.is_empty(), is_valid, "{name}");
    for evidence in &result.evidence {
        assert!(evidence.window.len() <= WINDOW_OPS_MAX, "{name}");
        assert!(evidence.window.iter().any(|op| op.culprit), "{name}: {}", evidence.story);
    }
}

#[test]
fn transactions_on_lists_a_hundred_thousand_at_a_time() {
    for [name, expected] in index("synthetic-txn", ["file", "expected"]) {
        if name.contains("list-append") {
            let path = file(&format!("synthetic-txn/{name}")).expect("the index names files that are there");
            let is_valid = expected == "strict-serializable: valid";
            expect_append(&name, is_valid, &elle::from_json(&text(&path)));
        }
    }
}

#[test]
fn transactions_on_lists_of_elles_own_tests() {
    let Some(path) = file("elle/elle_unit.jsonl") else { return };
    let mut judged = 0;
    for line in text(&path).lines() {
        let row: Value = serde_json::from_str(line).expect("a row is JSON");
        if row["checker"] != "list-append" {
            continue;
        }
        let name = format!("{} {}", row["test"], row["opts"]);
        let history = elle::from_values(row["history"].as_array().expect("a history is an array"));
        let models = &row["opts"]["consistency-models"];
        let is_strict = row["opts"] == serde_json::json!({}) || models[0] == "strict-serializable";
        match (&row["result"]["valid?"], is_strict) {
            // What a weaker level forbids, strict serializability forbids too; what it allows says nothing.
            (Value::Bool(false), _) => expect_append(&name, false, &history),
            (Value::Bool(true), true) => expect_append(&name, true, &history),
            (Value::Bool(true), false) => continue,
            _ => assert_eq!(
                check_append(&history, Duration::from_secs(60)).verdict,
                Verdict::Unknown,
                "{name}"
            ),
        }
        judged += 1;
    }
    assert!(judged >= 20, "{judged}");
    for (name, is_valid) in [
        ("elle/repo/si-without-g-single.edn", false),
        ("elle/repo/huge-scc.edn", false),
        ("elle/elle-cli/elle/paper-example.edn", false),
    ] {
        let path = file(name).expect("the index names files that are there");
        expect_append(name, is_valid, &elle::from_edn(&text(&path)));
    }
}

#[test]
fn transactions_on_lists_of_elles_corpus() {
    let Some(path) = file("elle/corpus_EXPECTED.jsonl.gz") else { return };
    let mut expected = HashMap::new();
    for line in text(&path).lines() {
        let row: Value = serde_json::from_str(line).expect("a row is JSON");
        let name = row["file"].as_str().expect("a row names its file").to_string();
        if name.contains("list-append") {
            expected.insert(name, row["valid"].as_bool().expect("a row has a verdict"));
        }
    }
    let corpus = File::open(file("elle/corpus.tar.gz").expect("the corpus lies beside its index"));
    let mut corpus = tar::Archive::new(flate2::read::GzDecoder::new(corpus.expect("the corpus can be read")));
    let mut judged = 0;
    for entry in corpus.entries().expect("the corpus is an archive") {
        let mut entry = entry.expect("the archive is whole");
        let path = entry.path().expect("a file has a name").into_owned();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_string();
        let Some(is_valid) = expected.get(&name) else { continue };
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("a history is text");
        expect_append(&name, *is_valid, &elle::from_json(&text));
        judged += 1;
    }
    assert_eq!(judged, expected.len());
}
