//! What every page has: its head, its style, verdicts, figures, tables of latency.

use crate::draw::ink::css_variables;
use crate::draw::scene::Scene;
use crate::draw::svg::svg;
use crate::plots::Plot;
use checkers::Verdict;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A whole page.
pub(super) fn page(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(css_variables())) (PreEscaped(include_str!("style.css"))) }
            }
            body { main { (body) } }
        }
    };
    page.into_string()
}

/// The verdict as a coloured word.
pub(super) fn badge(verdict: Verdict) -> Markup {
    let word = crate::text::verdict(verdict);
    html! { span class=(format!("badge {word}")) { (word) } }
}

/// What is missing, cut or doubtful.
pub(super) fn warnings(warnings: &[String]) -> Markup {
    const SHOWN_MAX: usize = 50;
    html! {
        @if !warnings.is_empty() {
            ul.warnings {
                @for warning in warnings.iter().take(SHOWN_MAX) { li { (crate::text::cut(warning, 2000)) } }
                @if warnings.len() > SHOWN_MAX { li { "and " (warnings.len() - SHOWN_MAX) " more" } }
            }
        }
    }
}

/// A figure as wide as the page, with its caption.
pub(super) fn figure(plot: &Plot) -> Markup {
    figure_of(&plot.scene, &plot.caption)
}

/// The same for a picture that is no plot.
pub(super) fn figure_of(scene: &Scene, caption: &str) -> Markup {
    html! {
        figure {
            div.picture { (PreEscaped(svg(scene, false))) }
            figcaption { (caption) }
        }
    }
}

/// A figure of its own width, which scrolls.
pub(super) fn wide_figure(scene: &Scene, caption: &str) -> Markup {
    html! {
        figure.natural {
            div.picture { (PreEscaped(svg(scene, true))) }
            figcaption { (caption) }
        }
    }
}

/// One figure that matters, large.
pub(super) fn tile(value: &str, name: &str, bad: bool) -> Markup {
    html! {
        div.tile.bad[bad] { b { (value) } span { (name) } }
    }
}

/// When and by what the page was made.
pub(super) fn footer(started: &str) -> Markup {
    html! { footer { "Run started " (started) ". Written by gauntlet from the stored history." } }
}
