//! As much of EDN as Jepsen's histories need.

/// A form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Edn {
    Nil,
    Int(i64),
    Text(String),
    /// Without its colon. Symbols are taken for keywords.
    Keyword(String),
    /// A list, a vector or a set.
    List(Vec<Edn>),
    Map(Vec<(Edn, Edn)>),
}

impl Edn {
    /// A map's value under a keyword.
    pub(crate) fn get(&self, key: &str) -> &Edn {
        let Edn::Map(pairs) = self else { panic!("{self:?} is no map") };
        let found = pairs.iter().find(|(k, _)| matches!(k, Edn::Keyword(name) if name == key));
        found.map_or(&Edn::Nil, |(_, value)| value)
    }

    pub(crate) fn list(&self) -> &[Edn] {
        match self {
            Edn::List(items) => items,
            other @ (Edn::Nil | Edn::Int(_) | Edn::Text(_) | Edn::Keyword(_) | Edn::Map(_)) => {
                panic!("{other:?} is no list")
            }
        }
    }

    /// A keyword's or a text's letters.
    pub(crate) fn name(&self) -> &str {
        match self {
            Edn::Keyword(name) | Edn::Text(name) => name,
            other @ (Edn::Nil | Edn::Int(_) | Edn::List(_) | Edn::Map(_)) => panic!("{other:?} is no name"),
        }
    }

    /// A number that is none below zero, or `None` for nil.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Edn::Nil => None,
            Edn::Int(n) => Some(u64::try_from(*n).expect("numbers in histories are not negative")),
            other @ (Edn::Text(_) | Edn::Keyword(_) | Edn::List(_) | Edn::Map(_)) => {
                panic!("{other:?} is no number")
            }
        }
    }
}

/// All forms of a text.
pub(crate) fn parse(text: &str) -> Vec<Edn> {
    let mut rest = text;
    let mut forms = Vec::new();
    while let Some(form) = next(&mut rest) {
        forms.push(form);
    }
    forms
}

/// The maps of a history: one a form, or all in one list.
pub(crate) fn parse_history(text: &str) -> Vec<Edn> {
    let forms = parse(text);
    match &forms[..] {
        [Edn::List(items)] => items.clone(),
        _ => forms,
    }
}

fn next(rest: &mut &str) -> Option<Edn> {
    loop {
        *rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',' || c == '#');
        if !rest.starts_with(';') {
            break;
        }
        *rest = rest.find('\n').map_or("", |end| &rest[end..]);
    }
    let first = rest.chars().next()?;
    Some(match first {
        '[' | '(' => Edn::List(until_closed(rest)),
        '{' => {
            let mut items = until_closed(rest).into_iter();
            let mut pairs = Vec::new();
            while let Some(key) = items.next() {
                pairs.push((key, items.next().expect("a map has values")));
            }
            Edn::Map(pairs)
        }
        ']' | ')' | '}' => {
            *rest = &rest[1..];
            return None;
        }
        '"' => {
            let mut is_escaped = false;
            let is_end = |c: char| {
                let ends = c == '"' && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                ends
            };
            let end = rest[1..].find(is_end).expect("a string ends") + 1;
            let text = rest[1..end].to_string();
            *rest = &rest[end + 1..];
            Edn::Text(text)
        }
        _ => {
            let end = rest.find(|c: char| c.is_whitespace() || ",[](){}\"".contains(c)).unwrap_or(rest.len());
            let word = &rest[..end];
            *rest = &rest[end..];
            match word.parse() {
                Ok(number) => Edn::Int(number),
                Err(_) if word == "nil" => Edn::Nil,
                Err(_) => Edn::Keyword(word.trim_start_matches(':').to_string()),
            }
        }
    })
}

fn until_closed(rest: &mut &str) -> Vec<Edn> {
    *rest = &rest[1..];
    let mut items = Vec::new();
    while let Some(item) = next(rest) {
        items.push(item);
    }
    items
}
