//! Histories of other tools are judged as their index says.

use crate::support::data::{file, index, text};
use crate::support::foreign::{etcd_log, knossos_register, synthetic};
use checkers::history::History;
use checkers::linearizability::{LinearizabilityOptions, check_linearizable};
use checkers::verdict::{CheckResult, Verdict, WINDOW_OPS_MAX};
use std::time::{Duration, Instant};

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
        let start = Instant::now();
        let result = judge(&history);
        println!("{name}: {:?} {:?} {}", start.elapsed(), result.verdict, result.summary);
        expect(&name, &expected, &result);
    }
}
