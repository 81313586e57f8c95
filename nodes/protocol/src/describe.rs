//! What crosses a wire says of itself, for traces, diagrams and faults that name kinds.

use std::fmt;

/// Has a kind, and a line of words: `Display` writes one line of bounded length, whatever the thing holds. A message's line says its
/// kind, too.
pub trait Describe: fmt::Display {
    /// Every kind that there is, each once.
    const KINDS: &'static [&'static str];

    /// Which of [`Describe::KINDS`] it is: kebab case, `append-entries`.
    fn kind(&self) -> &'static str;

    /// Whether it tells a receiver of `earlier`, which is of its kind and from its sender, nothing new, as heartbeats do. A
    /// number by which the answer will be known is nothing new.
    fn repeats(&self, earlier: &Self) -> bool
    where
        Self: Sized,
    {
        self.to_string() == earlier.to_string()
    }
}

/// Bytes that a client or a peer has chosen: the first of them, printable, and how many more there are.
#[derive(Clone, Copy, Debug)]
pub struct Shortened<'a>(pub &'a [u8]);

/// No more bytes than this are shown.
const BYTES_SHOWN_MAX: usize = 24;

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = self;
        let shown = &bytes[..bytes.len().min(BYTES_SHOWN_MAX)];
        write!(f, "{}", shown.escape_ascii())?;
        match bytes.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, "…+{more}"),
        }
    }
}

/// Words that somebody else has chosen: the first of them, on one line.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a>(pub &'a str);

/// No more characters than this are shown of words from outside.
const CHARS_SHOWN_MAX: usize = 120;

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(CHARS_SHOWN_MAX) {
            write!(f, "{}", if c.is_control() { ' ' } else { c })?;
        }
        chars.next().map_or(Ok(()), |_| f.write_str("…"))
    }
}

/// The first things of a list, each after a space and in brackets, and how many more there are.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a, T>(pub &'a [T]);

/// No more things than this are shown of a list.
const LISTED_MAX: usize = 8;

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(things) = self;
        things.iter().take(LISTED_MAX).try_for_each(|thing| write!(f, " [{thing}]"))?;
        match things.len().saturating_sub(LISTED_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_printable_and_few() {
        let shown = |bytes: &[u8]| Shortened(bytes).to_string();
        assert_eq!(shown(b"key 1"), "key 1");
        assert_eq!(shown("é\n\u{1b}".as_bytes()), r"\xc3\xa9\n\x1b");
        assert_eq!(shown(&[b'x'; 24]), "x".repeat(24));
        assert_eq!(shown(&[b'x'; 1000]), "x".repeat(24) + "…+976");
    }

    #[test]
    fn words_are_on_one_line_and_few() {
        assert_eq!(Words("it isn't\nthere: é").to_string(), "it isn't there: é");
        assert_eq!(Words(&"é".repeat(120)).to_string(), "é".repeat(120));
        assert_eq!(Words(&"é".repeat(121)).to_string(), "é".repeat(120) + "…");
    }

    #[test]
    fn lists_are_short() {
        assert_eq!(Listed::<u8>(&[]).to_string(), "");
        assert_eq!(Listed(&[1, 2]).to_string(), " [1] [2]");
        assert_eq!(Listed(&[7; 100]).to_string(), " [7]".repeat(8) + " and 92 more");
    }
}
