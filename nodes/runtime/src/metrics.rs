//! Numbers about the node itself, and their form at `/metrics`.

use std::fmt::Write as _;
use std::time::Duration;

/// Upper bounds of the buckets of [`Durations`], microseconds.
const BUCKETS_US: [u64; 12] = [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 51_200, 204_800, 819_200];

/// How long something took, as Prometheus wants it: counts by upper bound.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durations {
    counts: [u64; BUCKETS_US.len()],
    pub(crate) count: u64,
    pub(crate) total: Duration,
    pub(crate) longest: Duration,
}

impl Durations {
    pub(crate) fn add(&mut self, took: Duration) {
        let took_us = took.as_micros();
        if let Some(bucket) = BUCKETS_US.iter().position(|bound| took_us <= u128::from(*bound)) {
            self.counts[bucket] += 1;
        }
        self.count += 1;
        self.total += took;
        self.longest = self.longest.max(took);
    }
}

/// A page of Prometheus' text format.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a String can be written to");
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.line(format_args!("{name} {value}"));
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, "gauge", help);
        self.line(format_args!("{name} {value}"));
    }

    /// One value for each label value.
    pub(crate) fn labelled<V: std::fmt::Display>(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        label: &str,
        values: impl IntoIterator<Item = (V, u64)>,
    ) {
        self.head(name, kind, help);
        for (of, value) in values {
            self.line(format_args!("{name}{{{label}=\"{of}\"}} {value}"));
        }
    }

    pub(crate) fn seconds(&mut self, name: &str, help: &str, durations: &[(&str, &Durations)]) {
        self.head(name, "histogram", help);
        for (of, durations) in durations {
            let mut upto = 0;
            for (bound, count) in BUCKETS_US.iter().zip(&durations.counts) {
                upto += count;
                let bound = Duration::from_micros(*bound).as_secs_f64();
                self.line(format_args!("{name}_bucket{{on=\"{of}\",le=\"{bound}\"}} {upto}"));
            }
            self.line(format_args!("{name}_bucket{{on=\"{of}\",le=\"+Inf\"}} {}", durations.count));
            self.line(format_args!("{name}_sum{{on=\"{of}\"}} {}", durations.total.as_secs_f64()));
            self.line(format_args!("{name}_count{{on=\"{of}\"}} {}", durations.count));
        }
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}
