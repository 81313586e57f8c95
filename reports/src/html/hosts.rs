//! The hosts of a run that has others than the controller's.

use super::shell;
use crate::measure::clock::Clock;
use crate::plots::Plot;
use crate::stored::{HOSTS_FILE, HostRecord};
use crate::text::{count, cut, duration, offset};
use maud::{Markup, html};
use std::collections::{BTreeMap, BTreeSet};

/// More hosts than this are only counted.
const HOSTS_MAX: usize = 24;
/// So are more counters, or more means.
const ROWS_MAX: usize = 60;
const NAME_CHARS_MAX: usize = 40;
/// Longer lists and sentences are cut.
const WORDS_CHARS_MAX: usize = 200;

pub(super) fn section(hosts: &[HostRecord], clocks: &Plot) -> Markup {
    html! {
        h2 { "Hosts" }
        (shell::figure(clocks))
        (tables(hosts))
    }
}

fn tables(hosts: &[HostRecord]) -> Markup {
    let shown = &hosts[..hosts.len().min(HOSTS_MAX)];
    html! {
        div.scroll { table {
            thead { tr { th { "host" } th { "runs" } th.n { "readings" } th.n { "clock, median" } th.n { "most extreme" } } }
            tbody { @for host in shown { (row(host)) } }
        } }
        (more(hosts.len(), HOSTS_MAX))
        p.numbers {
            "Clock: ahead of the controller's (+) or behind (-), ± how far that may be wrong. Most extreme: the reading that was furthest "
            "off for certain."
        }
        (counters(shown))
        (means(hosts))
    }
}

fn row(host: &HostRecord) -> Markup {
    let clock = Clock::of(&host.clock);
    let beside =
        |us: i64, uncertainty_us: i64| format!("{} ± {}", offset(us), duration(uncertainty_us as f64 / 1e3));
    html! {
        tr {
            td.name { (cut(&host.name, NAME_CHARS_MAX)) }
            td.words { (cut(&host.nodes.join(", "), WORDS_CHARS_MAX)) }
            td.n { (count(host.clock.len() as u64)) }
            td.n { (clock.map_or("–".into(), |c| beside(c.offset_us, c.uncertainty_us))) }
            td.n { (clock.map_or("–".into(), |c| beside(c.extreme.offset_us, c.extreme.uncertainty_us))) }
        }
    }
}

/// A row for each counter that grew anywhere, a column for each host.
fn counters(hosts: &[HostRecord]) -> Markup {
    let grown = hosts.iter().flat_map(|host| &host.counters).filter(|(_, grew)| *grew > 0);
    let names: BTreeSet<&str> = grown.map(|(name, _)| name.as_str()).collect();
    let grew =
        |host: &HostRecord, name: &str| host.counters.iter().find(|(n, _)| n == name).map(|(_, grew)| *grew);
    html! {
        @if !names.is_empty() {
            h3 { "What their kernels counted" }
            div.scroll { table {
                thead { tr { th { "counter" } @for host in hosts { th.n { (cut(&host.name, NAME_CHARS_MAX)) } } } }
                tbody {
                    @for name in names.iter().take(ROWS_MAX) {
                        tr {
                            td.name { (cut(name, NAME_CHARS_MAX)) }
                            @for host in hosts { td.n { (grew(host, name).map_or("–".into(), count)) } }
                        }
                    }
                }
            } }
            (more(names.len(), ROWS_MAX))
            p.numbers { "Growth over the run phase, of the whole host. What stayed 0 on all hosts is left out." }
        }
    }
}

/// By what means each fault came about, and where.
fn means(hosts: &[HostRecord]) -> Markup {
    let mut places: BTreeMap<(&str, &str), BTreeSet<usize>> = BTreeMap::new();
    for (nth, host) in hosts.iter().enumerate() {
        for (fault, means) in &host.means {
            places.entry((fault, means)).or_default().insert(nth);
        }
    }
    let names = |places: &BTreeSet<usize>| {
        let names: Vec<&str> = places.iter().map(|&nth| hosts[nth].name.as_str()).collect();
        if names.len() == hosts.len() { "all".into() } else { cut(&names.join(", "), WORDS_CHARS_MAX) }
    };
    html! {
        @if !places.is_empty() {
            h3 { "By what means faults came about" }
            div.scroll { table {
                thead { tr { th { "fault" } th { "means" } th { "hosts" } } }
                tbody {
                    @for ((fault, means), places) in places.iter().take(ROWS_MAX) {
                        tr {
                            td.name { (cut(fault, NAME_CHARS_MAX)) }
                            td.words { (cut(means, WORDS_CHARS_MAX)) }
                            td.words { (names(places)) }
                        }
                    }
                }
            } }
            (more(places.len(), ROWS_MAX))
        }
    }
}

fn more(all: usize, shown_max: usize) -> Markup {
    html! { @if all > shown_max { p.numbers { "And " (count((all - shown_max) as u64)) " more, see " (HOSTS_FILE) "." } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_stand_side_by_side() {
        let tables = tables(&crate::synthetic::hosts(120)).into_string();
        insta::assert_snapshot!(tables.replace("</tr>", "</tr>\n").replace("</div>", "</div>\n"));
    }
}
