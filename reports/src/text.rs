//! Numbers and verdicts as a person reads them. The one place that rounds.

use checkers::Verdict;

/// 1234567 as `1,234,567`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// As [`count`], or a dash where nobody counted.
#[must_use]
pub fn counted(n: Option<u64>) -> String {
    n.map_or_else(|| "–".into(), count)
}

/// Three significant digits, no exponent: `0.0123`, `1.23`, `123`, `12,346`.
#[must_use]
pub fn number(x: f64) -> String {
    if !x.is_finite() {
        return "–".into();
    }
    let magnitude = x.abs();
    if magnitude >= 99.95 {
        let sign = if x < 0.0 { "-" } else { "" };
        return format!("{sign}{}", count(magnitude.round() as u64));
    }
    let decimals = match magnitude {
        m if m >= 9.995 => 1,
        m if m >= 0.9995 => 2,
        m if m >= 0.09995 => 3,
        m if m > 0.0 => 4,
        _ => 0,
    };
    format!("{x:.decimals$}")
}

/// As [`number`], or a dash.
#[must_use]
pub fn maybe(x: Option<f64>) -> String {
    x.map_or_else(|| "–".into(), number)
}

/// Milliseconds with the unit that suits: `12.3 µs`, `4.56 ms`, `1.20 s`, `2 min 5 s`.
#[must_use]
pub fn duration(ms: f64) -> String {
    match ms {
        ms if ms <= 0.0 => "0 s".into(),
        ms if ms < 0.9995 => format!("{} µs", number(ms * 1e3)),
        ms if ms < 999.5 => format!("{} ms", number(ms)),
        ms if ms < 119_500.0 => format!("{} s", number(ms / 1e3)),
        ms => {
            let s = (ms / 1e3).round() as u64;
            format!("{} min {} s", s / 60, s % 60)
        }
    }
}

/// How far a clock is ahead, microseconds, with the unit that suits: `+12.3 ms`, `-250 µs`.
#[must_use]
pub fn offset(us: i64) -> String {
    let (unit_us, unit) = offset_unit(us as f64);
    let sign = if us > 0 { "+" } else { "" };
    format!("{sign}{} {unit}", number(us as f64 / unit_us))
}

/// The unit that suits an offset, with its length in microseconds. A machine without a battery may be decades behind.
#[must_use]
pub fn offset_unit(us: f64) -> (f64, &'static str) {
    const UNITS: [(f64, &str); 5] = [(31_557.6e9, "y"), (86.4e9, "d"), (3.6e9, "h"), (1e6, "s"), (1e3, "ms")];
    UNITS.into_iter().find(|(unit_us, _)| us.abs() >= *unit_us).unwrap_or((1.0, "µs"))
}

/// A time since the run began, for tables: `12.345 s`.
#[must_use]
pub fn moment(s: f64) -> String {
    format!("{s:.3} s")
}

/// A ratio to a baseline: `0.05×`, `1.23×`, `45.6×`; `None` where one of the two is nothing.
#[must_use]
pub fn ratio(x: f64, baseline: f64) -> Option<String> {
    let ratio = x / baseline;
    let words = if (0.005..9.995).contains(&ratio) { format!("{ratio:.2}") } else { number(ratio) };
    (x.is_finite() && x > 0.0 && baseline > 0.0).then(|| format!("{words}×"))
}

/// In a word.
#[must_use]
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Unknown => "unknown",
        Verdict::Invalid => "invalid",
    }
}

/// As a sentence of its own: begins with a capital and ends with a stop. At most `max` characters.
#[must_use]
pub fn sentence(text: &str, max: usize) -> String {
    let text = cut(text.trim(), max);
    let mut rest = text.chars();
    let Some(first) = rest.next() else { return text };
    let stop = if text.ends_with(['.', '!', '?', '…']) { "" } else { "." };
    format!("{}{}{stop}", first.to_uppercase(), rest.as_str())
}

/// At most `max` characters, the last an ellipsis if some were cut.
#[must_use]
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(max.saturating_sub(1)).collect();
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_no_exponent() {
        let seen =
            [0.0, 0.01234, 0.1, 0.99999, 1.0, 9.999, 12.34, 99.99, 123.4, 12_345.6, f64::NAN].map(number);
        assert_eq!(
            seen,
            ["0", "0.0123", "0.100", "1.00", "1.00", "10.0", "12.3", "100", "123", "12,346", "–"]
        );
    }

    #[test]
    fn durations_carry_the_unit_that_suits() {
        let seen = [0.0, 0.0012, 0.25, 0.9999, 1.5, 999.4, 999.9, 60_000.0, 125_000.0].map(duration);
        assert_eq!(
            seen,
            ["0 s", "1.20 µs", "250 µs", "1.00 ms", "1.50 ms", "999 ms", "1.00 s", "60.0 s", "2 min 5 s"]
        );
        assert_eq!([0, 12_345, -250, i64::MIN].map(offset), ["0 µs", "+12.3 ms", "-250 µs", "-292,271 y"]);
    }

    #[test]
    fn counts_are_grouped_and_text_is_cut_and_made_a_sentence() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let sentences =
            [sentence("", 9), sentence("one read is stale", 99), sentence("Why? é", 4), sentence("Ok.", 9)];
        assert_eq!(sentences, ["", "One read is stale.", "Why…", "Ok."]);
        assert_eq!((cut("précis", 6), cut("précis", 4)), ("précis".into(), "pré…".into()));
    }
}
