//! `gauntlet client`: a prompt to a running cluster, over its nodes' HTTP ports.

use anyhow::{Context, bail};
use protocol::ReplicaId;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;
use tls::{Credentials, TlsFiles};
use ureq::http::Uri;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

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
    nodes: Vec<Node>,
    agent: ureq::Agent,
}

/// A node and how it is spoken to.
#[derive(Debug)]
struct Node {
    address: SocketAddr,
    /// Scheme and authority of its URLs: with TLS its name is in it, which its certificate must bear.
    base: String,
}

impl Shell {
    /// For a cluster whose nodes serve HTTP there, over TLS if there are files of it.
    ///
    /// # Errors
    /// If one of the files cannot be used.
    pub(crate) fn new(nodes: Vec<SocketAddr>, tls: Option<&TlsFiles>) -> anyhow::Result<Self> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(ATTEMPT_TIMEOUT))
            .http_status_as_error(false)
            // A node does not send people elsewhere.
            .max_redirects(0);
        let Some(files) = tls else {
            let node = |address| Node { address, base: format!("http://{address}") };
            return Ok(Self { nodes: nodes.into_iter().map(node).collect(), agent: config.build().into() });
        };
        let authority =
            |(id, address): (u32, SocketAddr)| format!("{}:{}", tls::name_of(ReplicaId(id)), address.port());
        let named: Vec<_> = (1..).zip(nodes).map(|node| (authority(node), node.1)).collect();
        let agent = ureq::Agent::with_parts(
            config.https_only(true).tls_config(tls_config(files)?).build(),
            DefaultConnector::default(),
            Addresses(named.iter().cloned().collect()),
        );
        let node = |(authority, address)| Node { address, base: format!("https://{authority}") };
        Ok(Self { nodes: named.into_iter().map(node).collect(), agent })
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
                other @ (serde_json::Value::Bool(_)
                | serde_json::Value::Number(_)
                | serde_json::Value::Array(_)
                | serde_json::Value::Object(_)) => {
                    bail!("there are more keys, but the next one is no text: {other}")
                }
            }
        }
    }

    fn status(&self) {
        for node in &self.nodes {
            let address = node.address;
            match self.ask(node, "GET", "/status", None) {
                Ok((_, status)) => {
                    let core = &status["core"];
                    println!(
                        "{address}  {}  epoch {}  committed {}  applied {}  keys {}  digest {}",
                        text(&core["role"]),
                        core["epoch"],
                        core["committed"],
                        core["applied"],
                        core["keys"],
                        core["digest"]
                    );
                }
                Err(error) => println!("{address}  {error:#}"),
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
            match self.ask(node, method, path, body) {
                Ok((200..=299, value)) => return Ok(Some(value)),
                Ok((404, _)) => return Ok(None),
                Ok((status, value)) => {
                    reasons.push(format!("{}: {status} {}", node.address, text(&value["error"])));
                }
                Err(error) => reasons.push(format!("{}: {error:#}", node.address)),
            }
        }
        bail!("no node did it: {}", reasons.join("; "))
    }

    fn ask(
        &self,
        node: &Node,
        method: &str,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> anyhow::Result<(u16, serde_json::Value)> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", node.base))
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

fn tls_config(files: &TlsFiles) -> anyhow::Result<TlsConfig> {
    // Names what is wrong with them, and nothing is from here on.
    Credentials::read(files)?;
    let pem = |file| std::fs::read(file);
    let certificate = Certificate::from_pem(&pem(&files.certificate)?)?;
    let shown = ClientCert::new_with_certs(&[certificate], PrivateKey::from_pem(&pem(&files.key)?)?);
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[Certificate::from_pem(&pem(&files.ca)?)?]))
        .client_cert(Some(shown))
        .unversioned_rustls_crypto_provider(tls::provider())
        .build())
}

/// Where the nodes are whose names no DNS knows.
#[derive(Debug)]
struct Addresses(BTreeMap<String, SocketAddr>);

impl Resolver for Addresses {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let address = uri.authority().and_then(|authority| self.0.get(authority.as_str()));
        let mut found = self.empty();
        found.push(*address.ok_or(ureq::Error::HostNotFound)?);
        Ok(found)
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
    use crate::world::secrets::Secrets;
    use protocol::NodeId;

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

    /// A node that speaks TLS, and what a client shows to it.
    fn secured_node(folder: &std::path::Path) -> (SocketAddr, TlsFiles) {
        let secrets = Secrets::new();
        let (node, of_node) = secrets.of_replica(ReplicaId(1), folder);
        let (client, of_client) = secrets.of_clients(folder);
        of_node.iter().chain(&of_client).for_each(|secret| secret.write().expect("written"));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = runtime::NodeConfig {
            distance_us: BTreeMap::new(),
            node: NodeId(1),
            twins: [].into(),
            incarnation: protocol::Incarnation(0),
            peers: [(NodeId(1), any)].into(),
            members: None,
            client_address: any,
            clients: [].into(),
            http_address: any,
            tls: Some(node),
            data_dir: folder.join("data"),
            durability: runtime::Durability::Memory,
            unsynced: runtime::Unsynced::Kept,
            journal_sync_ms_min: 0,
            storage_bugs: protocol::Bugs::default(),
            seed: 1,
            options: serde_yaml::Value::Null,
        };
        let (ready_sender, ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let core = standalone::Config {
                replica: ReplicaId(1),
                members: config.members(),
                options: standalone::Options::default(),
            };
            let ready = |ready: &runtime::Ready| ready_sender.send(ready.http).expect("the test waits");
            runtime.expect("a runtime").block_on(runtime::serve::<standalone::Standalone>(
                "standalone",
                &config,
                core,
                ready,
                std::future::pending(),
            ))
        });
        (ready.recv().expect("it starts"), client)
    }

    #[test]
    fn a_node_that_speaks_tls_is_spoken_to_by_its_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (node, files) = secured_node(folder.path());
        let shell = Shell::new(vec![node], Some(&files)).expect("good files");
        assert!(shell.execute("put key a value").expect("put"));
        let found = shell.any("GET", "/kv/get/key", None).expect("got").expect("there");
        assert_eq!(text(&found["value"]), "a value");
        // The second is n2, which this one is not.
        let misplaced = Shell::new(vec!["127.0.0.1:9".parse().expect("an address"), node], Some(&files));
        let error = misplaced.expect("good files").execute("get key").expect_err("nobody there").to_string();
        assert!(error.contains("n2.peer.gauntlet"), "{error}");
        let plain = Shell::new(vec![node], None).expect("no files").execute("get key");
        plain.expect_err("it speaks TLS only");
        let bad = TlsFiles { key: files.ca.clone(), ..files };
        let error = Shell::new(vec![node], Some(&bad)).expect_err("no key").to_string();
        assert!(error.contains("client.ca.pem"), "{error}");
    }
}
