//! A run's own CA.

use crate::names::{CLIENT_NAME, name_of};
use protocol::ReplicaId;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};
use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime};

/// How long certificates are valid unless somebody wants it otherwise: longer than any run.
pub const VALID_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Certificates are valid from before they are made: the clocks of the hosts differ.
const VALID_BEFORE: Duration = Duration::from_secs(3600);
const NO_ENTROPY: &str = "the system has entropy, and all that is certified is of our own making";

/// A CA in memory, made for one run: nobody else trusts it, and its key is never written anywhere.
#[derive(Debug)]
pub struct Authority {
    /// When the certificates that are issued next are valid.
    pub validity: Range<SystemTime>,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What a program shows of itself: PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key of it, which nobody else may read.
    pub key: String,
}

impl Authority {
    /// A new CA, whose certificates are valid from an hour ago. Its keys are the one thing of a run that does not follow from
    /// the seed: a key that does is none.
    ///
    /// # Panics
    /// If the system has no entropy.
    #[must_use]
    pub fn new(valid_for: Duration) -> Authority {
        #[expect(
            clippy::disallowed_methods,
            reason = "certificates are valid by the wall clock, on any host"
        )]
        let now = SystemTime::now();
        let validity = now - VALID_BEFORE..now + valid_for;
        let mut about = parameters("the CA of a run of Gauntlet", &validity);
        about.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        about.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect(NO_ENTROPY);
        let issuer = CertifiedIssuer::self_signed(about, key).expect(NO_ENTROPY);
        Authority { validity, issuer }
    }

    /// What a replica shows, to its clients and to its peers.
    ///
    /// # Panics
    /// If the system has no entropy.
    #[must_use]
    pub fn issue_replica(&self, replica: ReplicaId) -> Identity {
        let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&name_of(replica), usages)
    }

    /// What clients show.
    ///
    /// # Panics
    /// If the system has no entropy.
    #[must_use]
    pub fn issue_client(&self) -> Identity {
        self.issue(CLIENT_NAME, vec![ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// The CA's own certificate.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.issuer.pem()
    }

    fn issue(&self, name: &str, usages: Vec<ExtendedKeyUsagePurpose>) -> Identity {
        let mut about = parameters(name, &self.validity);
        about.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().expect("ASCII"))];
        about.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        about.extended_key_usages = usages;
        let key = KeyPair::generate().expect(NO_ENTROPY);
        let certificate = about.signed_by(&key, &self.issuer).expect(NO_ENTROPY);
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn parameters(name: &str, validity: &Range<SystemTime>) -> CertificateParams {
    let mut about = CertificateParams::default();
    about.distinguished_name = DistinguishedName::new();
    about.distinguished_name.push(DnType::CommonName, name);
    about.not_before = validity.start.into();
    about.not_after = validity.end.into();
    about
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}
