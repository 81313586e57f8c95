//! Whom a certificate is for: its DNS name.

use protocol::ReplicaId;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

/// The name in the certificate of every client.
pub(crate) const CLIENT_NAME: &str = "client.gauntlet";

/// The name in a replica's certificate, whichever of its ports shows it.
#[must_use]
pub fn name_of(replica: ReplicaId) -> String {
    format!("{replica}.peer.gauntlet")
}

/// Whom to look for when connecting to a replica.
///
/// # Panics
/// Never: the name of every replica is a DNS name.
#[must_use]
pub fn server_name(replica: ReplicaId) -> ServerName<'static> {
    name_of(replica).try_into().expect("letters, digits and dots")
}

/// Whether a certificate that the CA has issued is this replica's.
#[must_use]
pub fn is_for(certificate: &CertificateDer<'_>, replica: ReplicaId) -> bool {
    ParsedCertificate::try_from(certificate)
        .and_then(|parsed| verify_server_name(&parsed, &server_name(replica)))
        .is_ok()
}
