//! What every page has: its head, its style, its verdict.

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
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body { main { (body) } }
        }
    };
    page.into_string()
}

/// The verdict as a coloured word; `None`: not checked.
pub(super) fn badge(verdict: Option<Verdict>) -> Markup {
    let word = verdict.map_or("not checked", crate::text::verdict);
    let class = verdict.map_or("unknown", crate::text::verdict);
    html! { span class=(format!("badge {class}")) { (word) } }
}
