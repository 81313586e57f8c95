//! What the nodes and clients of one run show each other: certificates of an authority that nobody keeps.

use crate::host::Secret;
use anyhow::Context;
use protocol::ReplicaId;
use std::path::Path;
use tls::{Authority, Credentials, Identity, TlsFiles, VALID_FOR};
use workloads::ClientTls;

/// Of one run.
#[derive(Debug)]
pub(crate) struct Secrets {
    authority: Authority,
    client: Identity,
}

impl Secrets {
    /// New ones.
    #[must_use]
    pub(crate) fn new() -> Secrets {
        let authority = Authority::new(VALID_FOR);
        let client = authority.issue_client();
        Secrets { authority, client }
    }

    /// What a replica needs, and where in its folder it is.
    #[must_use]
    pub(crate) fn of_replica(&self, replica: ReplicaId, dir: &Path) -> (TlsFiles, Vec<Secret>) {
        self.files(&self.authority.issue_replica(replica), "node", dir)
    }

    /// What clients need, in files of this folder.
    #[must_use]
    pub(crate) fn of_clients(&self, dir: &Path) -> (TlsFiles, Vec<Secret>) {
        self.files(&self.client, "client", dir)
    }

    /// What load clients show and ask for.
    ///
    /// # Errors
    /// If the library does not take what it has made.
    pub(crate) fn client_tls(&self) -> anyhow::Result<ClientTls> {
        let credentials = Credentials::parse(&self.authority.ca_pem(), &self.client);
        Ok(ClientTls::new(&credentials.context("a client's own certificate")?))
    }

    fn files(&self, identity: &Identity, name: &str, dir: &Path) -> (TlsFiles, Vec<Secret>) {
        let files = TlsFiles {
            ca: dir.join(format!("{name}.ca.pem")),
            certificate: dir.join(format!("{name}.pem")),
            key: dir.join(format!("{name}.key")),
        };
        let secret = |file: &Path, text: &str| Secret { file: file.to_owned(), text: text.to_owned() };
        let secrets = vec![
            secret(&files.ca, &self.authority.ca_pem()),
            secret(&files.certificate, &identity.certificate),
            secret(&files.key, &identity.key),
        ];
        (files, secrets)
    }
}
