//! Whom a program trusts, and what it shows.

use crate::authority::Identity;
use crate::names;
use protocol::ReplicaId;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where credentials are: PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate of the CA that issued everybody's.
    pub ca: PathBuf,
    /// The program's own certificate.
    pub certificate: PathBuf,
    /// The private key of it.
    pub key: PathBuf,
}

/// Why credentials cannot be used: which file or part, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{part}: {reason}")]
pub struct TlsError {
    part: String,
    reason: String,
}

impl TlsError {
    fn new(part: impl fmt::Display, reason: impl fmt::Display) -> TlsError {
        TlsError { part: part.to_string(), reason: reason.to_string() }
    }
}

/// Whom a program trusts, and what it shows.
#[derive(Clone, Debug)]
pub struct Credentials {
    roots: Arc<RootCertStore>,
    shown: Arc<CertifiedKey>,
}

/// A PEM text and what it is called in errors.
struct Part<'a> {
    name: String,
    text: &'a str,
}

impl Credentials {
    /// Of PEM texts.
    ///
    /// # Errors
    /// If one of them is not what it should be, or the key is another certificate's.
    pub fn parse(ca: &str, identity: &Identity) -> Result<Credentials, TlsError> {
        let part = |name: &str, text| Part { name: name.to_owned(), text };
        Credentials::new(
            &part("the CA's certificate", ca),
            &part("the certificate", &identity.certificate),
            &part("the key", &identity.key),
        )
    }

    /// Of PEM files.
    ///
    /// # Errors
    /// As [`Credentials::parse`], or if a file cannot be read.
    pub fn read(files: &TlsFiles) -> Result<Credentials, TlsError> {
        let read = |file: &Path| std::fs::read_to_string(file).map_err(|e| TlsError::new(file.display(), e));
        let (ca, certificate, key) = (read(&files.ca)?, read(&files.certificate)?, read(&files.key)?);
        Credentials::new(
            &Part { name: files.ca.display().to_string(), text: &ca },
            &Part { name: files.certificate.display().to_string(), text: &certificate },
            &Part { name: files.key.display().to_string(), text: &key },
        )
    }

    /// As [`Credentials::read`], for a node.
    ///
    /// # Errors
    /// The same, and if the certificate is not this replica's.
    pub fn read_of(replica: ReplicaId, files: &TlsFiles) -> Result<Credentials, TlsError> {
        let credentials = Credentials::read(files)?;
        if credentials.are_of(replica) {
            Ok(credentials)
        } else {
            let reason = format!("it is not for {}", names::name_of(replica));
            Err(TlsError::new(files.certificate.display(), reason))
        }
    }

    fn new(ca: &Part<'_>, certificate: &Part<'_>, key: &Part<'_>) -> Result<Credentials, TlsError> {
        let mut roots = RootCertStore::empty();
        for root in ca.certificates()? {
            roots.add(root).map_err(|e| TlsError::new(&ca.name, e))?;
        }
        let chain = certificate.certificates()?;
        let private = PrivateKeyDer::from_pem_slice(key.text.as_bytes());
        let private = private.map_err(|e| TlsError::new(&key.name, describe(&e, "private key")))?;
        let shown = CertifiedKey::from_der(chain, private, &provider())
            .map_err(|e| TlsError::new(&key.name, format!("with {}: {e}", certificate.name)))?;
        Ok(Credentials { roots: Arc::new(roots), shown: Arc::new(shown) })
    }

    fn are_of(&self, replica: ReplicaId) -> bool {
        self.shown.cert.first().is_some_and(|certificate| names::is_for(certificate, replica))
    }

    /// For whoever accepts connections: whoever connects must show a certificate of the CA.
    ///
    /// # Panics
    /// Never: there is a CA.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider());
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3")
            .with_client_cert_verifier(verifier.build().expect("there is a CA"))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&self.shown))));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Arc::new(config)
    }

    /// For whoever connects.
    ///
    /// # Panics
    /// Never: the provider has TLS 1.3.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3")
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&self.shown))));
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Arc::new(config)
    }
}

impl Part<'_> {
    /// One or more.
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found = CertificateDer::pem_slice_iter(self.text.as_bytes()).collect::<Result<Vec<_>, _>>();
        let found = match found {
            Ok(none) if none.is_empty() => Err(pem::Error::NoItemsFound),
            found => found,
        };
        found.map_err(|e| TlsError::new(&self.name, describe(&e, "certificate")))
    }
}

fn describe(error: &pem::Error, wanted: &str) -> String {
    if let pem::Error::NoItemsFound = error {
        format!("there is no {wanted} in it")
    } else {
        error.to_string()
    }
}

/// Who does the mathematics.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, VALID_FOR};

    #[test]
    fn a_certificate_is_for_the_replica_that_it_names_and_no_other() {
        let authority = Authority::new(VALID_FOR);
        let of = |identity| Credentials::parse(&authority.ca_pem(), &identity).expect("of our own making");
        let replica = of(authority.issue_replica(ReplicaId(2)));
        assert_eq!([1, 2, 3, 22].map(|id| replica.are_of(ReplicaId(id))), [false, true, false, false]);
        let client = of(authority.issue_client());
        assert!(!client.are_of(ReplicaId(1)));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_name() {
        let authority = Authority::new(VALID_FOR);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (one, two) = (authority.issue_client(), authority.issue_client());
        let put = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).expect("written");
            file
        };
        let good = TlsFiles {
            ca: put("ca.pem", &authority.ca_pem()),
            certificate: put("one.pem", &one.certificate),
            key: put("one.key", &one.key),
        };
        Credentials::read(&good).expect("nothing is wrong");
        let torn = &one.certificate[..one.certificate.len() / 2];
        for (bad, file, reason) in [
            (TlsFiles { ca: folder.path().join("none.pem"), ..good.clone() }, "none.pem", "No such file"),
            (TlsFiles { ca: good.key.clone(), ..good.clone() }, "one.key", "no certificate"),
            (TlsFiles { key: good.ca.clone(), ..good.clone() }, "ca.pem", "no private key"),
            (TlsFiles { certificate: put("torn.pem", torn), ..good.clone() }, "torn.pem", "section"),
            (TlsFiles { key: put("two.key", &two.key), ..good }, "two.key", "one.pem"),
        ] {
            let error = Credentials::read(&bad).expect_err(file).to_string();
            assert!(error.contains(file) && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_private_key_is_not_printed() {
        let identity = Authority::new(VALID_FOR).issue_client();
        let credentials = Credentials::parse(&identity.certificate, &identity).expect("some certificate");
        for printed in [format!("{identity:?}"), format!("{credentials:?}")] {
            let secret = identity.key.lines().nth(1).expect("a line");
            assert!(!printed.contains("PRIVATE") && !printed.contains(secret), "{printed}");
        }
    }
}
