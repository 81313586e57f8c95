//! `gauntlet client`: a prompt to a running cluster, over its nodes' HTTP ports.

use anyhow::{Context, bail};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

const HELP: &str = "put KEY VALUE · get KEY · delete KEY · getall · status · help · exit";
/// A replica that has not answered for so long is passed over.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a person may type.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Put { key: &'a str, value: &'a str },
    Get { key: &'a str },
    Delete { key: &'a str },
    GetAll,
    Status,
    Help,
    Exit,
    Empty,
}

fn parse(line: &str) -> anyhow::Result<Line<'_>> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let key = || if rest.is_empty() { bail!("{word} what? ({HELP})") } else { Ok(rest) };
    Ok(match word {
        "" => Line::Empty,
        "put" => {
            let (key, value) =
                rest.split_once(char::is_whitespace).with_context(|| format!("put KEY VALUE ({HELP})"))?;
            Line::Put { key, value: value.trim() }
        }
        "get" => Line::Get { key: key()? },
        "delete" => Line::Delete { key: key()? },
        "getall" => Line::GetAll,
        "status" => Line::Status,
        "help" => Line::Help,
        "exit" | "quit" => Line::Exit,
        other => bail!("unknown command `{other}` ({HELP})"),
    })
}

/// A client of the HTTP ports.
#[derive(Debug)]
pub(crate) struct Shell {
    nodes: Vec<SocketAddr>,
    agent: ureq::Agent,
}

impl Shell {
    /// For a cluster whose nodes serve HTTP there.
    #[must_use]
    pub(crate) fn new(nodes: Vec<SocketAddr>) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(ATTEMPT_TIMEOUT))
            .http_status_as_error(false)
            .build();
        Self { nodes, agent: config.into() }
    }

    /// Reads commands from standard input until `exit` or its end.
    ///
    /// # Errors
    /// If standard input cannot be read, or, when it is not a terminal, if a command fails.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        if !std::io::stdin().is_terminal() {
            for line in std::io::stdin().lines() {
                if !self.execute(&line?)? {
                    return Ok(());
                }
            }
            return Ok(());
        }
        println!("{HELP}");
        let mut editor = rustyline::DefaultEditor::new()?;
        loop {
            let line = match editor.readline("gauntlet> ") {
                Ok(line) => line,
                Err(rustyline::error::ReadlineError::Eof | rustyline::error::ReadlineError::Interrupted) => {
                    return Ok(());
                }
                Err(error) => return Err(error).context("reading the terminal"),
            };
            editor.add_history_entry(&line)?;
            match self.execute(&line) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => eprintln!("{error:#}"),
            }
        }
    }

    /// Carries out one command; whether to go on.
    ///
    /// # Errors
    /// If no node carries it out.
    pub(crate) fn execute(&self, line: &str) -> anyhow::Result<bool> {
        match parse(line)? {
            Line::Empty => {}
            Line::Help => println!("{HELP}"),
            Line::Exit => return Ok(false),
            Line::Put { key, value } => {
                let body = serde_json::json!({ "key": key, "value": value });
                self.any("POST", "/kv/put", Some(&body))?;
                println!("ok");
            }
            Line::Get { key } => match self.any("GET", &format!("/kv/get/{}", escape(key)), None)? {
                Some(found) => println!("{}", text(&found["value"])),
                None => println!("(absent)"),
            },
            Line::Delete { key } => match self.any("DELETE", &format!("/kv/delete/{}", escape(key)), None)? {
                Some(_) => println!("ok"),
                None => println!("(absent)"),
            },
            Line::GetAll => self.get_all()?,
            Line::Status => self.status(),
        }
        std::io::stdout().flush().context("writing to standard output")?;
        Ok(true)
    }

    fn get_all(&self) -> anyhow::Result<()> {
        let mut start = String::new();
        loop {
            let page =
                self.any("GET", &format!("/kv/all?start={}", escape(&start)), None)?.unwrap_or_default();
            for row in page["rows"].as_array().into_iter().flatten() {
                println!("{} = {}", text(&row["key"]), text(&row["value"]));
            }
            match &page["next"] {
                serde_json::Value::Null => return Ok(()),
                serde_json::Value::String(next) => start.clone_from(next),
                other => bail!("there are more keys, but the next one is no text: {other}"),
            }
        }
    }

    fn status(&self) {
        for node in &self.nodes {
            match self.ask(*node, "GET", "/status", None) {
                Ok((_, status)) => {
                    let core = &status["core"];
                    println!(
                        "{node}  {}  epoch {}  committed {}  applied {}  keys {}  digest {}",
                        text(&core["role"]),
                        core["epoch"],
                        core["committed"],
                        core["applied"],
                        core["keys"],
                        core["digest"]
                    );
                }
                Err(error) => println!("{node}  {error:#}"),
            }
        }
    }

    /// Asks one node after the other until one carries the request out; `None`: there is no such thing (404).
    fn any(
        &self,
        method: &str,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> anyhow::Result<Option<serde_json::Value>> {
        let mut reasons = Vec::new();
        for node in &self.nodes {
            match self.ask(*node, method, path, body) {
                Ok((200..=299, value)) => return Ok(Some(value)),
                Ok((404, _)) => return Ok(None),
                Ok((status, value)) => reasons.push(format!("{node}: {status} {}", text(&value["error"]))),
                Err(error) => reasons.push(format!("{node}: {error:#}")),
            }
        }
        bail!("no node did it: {}", reasons.join("; "))
    }

    fn ask(
        &self,
        node: SocketAddr,
        method: &str,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> anyhow::Result<(u16, serde_json::Value)> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{node}{path}"))
            .header("content-type", "application/json")
            .body(body.map(ToString::to_string).unwrap_or_default())?;
        let mut response = self.agent.run(request)?;
        let body = response.body_mut().read_to_string()?;
        let value = if body.is_empty() {
            serde_json::Value::Null
        } else {
            serde_json::from_str(&body).unwrap_or(body.into())
        };
        Ok((response.status().as_u16(), value))
    }
}

/// A JSON string as it is, anything else as JSON.
fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// Percent-encoding of all but what a path segment surely holds.
fn escape(key: &str) -> String {
    key.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_or_explained() {
        assert_eq!(parse("  put a  b c ").unwrap(), Line::Put { key: "a", value: "b c" });
        assert_eq!(parse("get a").unwrap(), Line::Get { key: "a" });
        assert_eq!(parse("").unwrap(), Line::Empty);
        for bad in ["put a", "get", "delete", "drop table"] {
            assert!(parse(bad).unwrap_err().to_string().contains("put KEY VALUE"), "{bad}");
        }
    }

    #[test]
    fn keys_survive_a_path() {
        assert_eq!(escape("a/b c?ü"), "a%2Fb%20c%3F%C3%BC");
    }
}
