//! The load engine against servers that speak TLS: what can be known of an op is the same, and nothing is asked of a server
//! that is not the replica it should be.

mod support;

use bytes::Bytes;
use checkers::history::Phase;
use client::ClientTls;
use kv::Response;
use protocol::{ClientOutcome, ReplicaId};
use std::time::Duration;
use support::{Deed, run, serve_as};
use tls::{Authority, Credentials, Identity, VALID_FOR};
use tokio::sync::watch;
use workloads::load::Arrivals;
use workloads::{LoadConfig, LoadSummary, Recorder, Share, Spec, run_load};

fn credentials(authority: &Authority, identity: &Identity) -> Credentials {
    Credentials::parse(&authority.ca_pem(), identity).expect("of our own making")
}

/// A load on three servers, of which each shows what it is given.
async fn load(
    (name, ops): (&str, u64),
    authority: &Authority,
    client: &Identity,
    shown: impl Fn(ReplicaId) -> Identity,
    conduct: impl Fn(usize) -> Deed + 'static,
) -> (LoadSummary, usize) {
    let servers =
        serve_as(3, |id| Some(credentials(authority, &shown(id))), move |before, _, _| conduct(before)).await;
    let tls = Some(ClientTls::new(&credentials(authority, client)));
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut recorder = Recorder::create(folder.path().join("history.bin")).expect("the folder is writable");
    let spec: Spec = serde_yaml::from_str(name).expect("a valid workload");
    let config = LoadConfig {
        clients: 4,
        arrivals: Arrivals::Closed,
        op_timeout: Duration::from_millis(500),
        attempt_timeout: Duration::from_millis(200),
        time_limit: Duration::from_secs(60),
        ops_max: Some(ops),
        seed: 7,
        share: Share::WHOLE,
        binding: spec.binding(true),
        readers: 1,
    };
    let (_stop, stopped) = watch::channel(false);
    let connector = servers.connector(tls);
    let summary = run_load(&connector, &spec, Phase::Run, &config, &mut recorder, stopped).await;
    let asked = servers.asked.borrow().len();
    (summary.expect("the load can be made"), asked)
}

#[test]
fn all_that_is_asked_is_answered() {
    run(async {
        let authority = Authority::new(VALID_FOR);
        let (client, shown) = (authority.issue_client(), |id| authority.issue_replica(id));
        let (summary, asked) = load(("register", 200), &authority, &client, shown, |_| Deed::Obey).await;
        assert_eq!((summary.ok(), asked), (200, 200));
    });
}

#[test]
fn an_answer_that_is_lost_with_its_connection_is_asked_for_again_or_unknown() {
    run(async {
        let authority = Authority::new(VALID_FOR);
        let (client, shown) = (authority.issue_client(), |id| authority.issue_replica(id));
        let conduct = |before| if before % 3 == 0 { Deed::HangUp } else { Deed::Obey };
        let (summary, _) = load(("append", 200), &authority, &client, shown, conduct).await;
        assert!(summary.ok() > 100 && summary.fail() == 0, "{summary:?}");
    });
}

#[test]
fn nothing_is_said_to_another_than_the_replica_that_was_meant() {
    run(async {
        let (authority, other) = (Authority::new(VALID_FOR), Authority::new(VALID_FOR));
        let client = authority.issue_client();
        for impostor in [
            authority.issue_replica(ReplicaId(9)),
            authority.issue_client(),
            other.issue_replica(ReplicaId(1)),
        ] {
            let (summary, asked) =
                load(("put", 12), &authority, &client, |_| impostor.clone(), |_| Deed::Obey).await;
            assert_eq!((summary.ok(), asked), (0, 0));
            // Whose time runs out in the middle of a handshake does not know.
            assert!(summary.fail() > 0, "{summary:?}");
        }
    });
}

#[test]
fn a_client_that_is_not_let_in_has_no_effect() {
    run(async {
        let (authority, other) = (Authority::new(VALID_FOR), Authority::new(VALID_FOR));
        let (stranger, shown) = (other.issue_client(), |id| authority.issue_replica(id));
        let (summary, asked) = load(("put", 12), &authority, &stranger, shown, |_| Deed::Obey).await;
        assert_eq!((summary.ok(), asked), (0, 0));
    });
}

#[test]
fn large_values_pass() {
    run(async {
        let authority = Authority::new(VALID_FOR);
        let servers = serve_as(
            1,
            |id| Some(credentials(&authority, &authority.issue_replica(id))),
            |_, _, _| Deed::Obey,
        )
        .await;
        let tls = ClientTls::new(&credentials(&authority, &authority.issue_client()));
        let mut client = servers.client(Some(tls));
        let value = Bytes::from(vec![7; 1_000_000]);
        let (key, limit) = (Bytes::from("key"), Duration::from_secs(10));
        let put = client.run(kv::Command::Write { key: key.clone(), value: value.clone() }, limit).await;
        assert_eq!(put.outcome, ClientOutcome::Answered(Response::Done));
        let got = client.run(kv::Command::Read { key }, limit).await;
        assert_eq!(got.outcome, ClientOutcome::Answered(Response::Value(Some(kv::Value::Bytes(value)))));
    });
}
