//! TLS as the tests use it: credentials in files, and connections that block.

use protocol::ReplicaId;
use runtime::NodeConfig;
use runtime::tls::{Authority, Credentials, Identity, TlsFiles, server_name};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_rustls::rustls::{ClientConnection, StreamOwned};

/// A connection whose handshake comes with the first byte that is written or read.
pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Gives every node of a group its credentials.
pub(crate) fn secure(authority: &Authority, configs: &mut [NodeConfig]) {
    for config in configs {
        config.tls = Some(files(&config.data_dir, authority, &authority.issue_replica(config.replica())));
    }
}

/// Writes credentials beside a data folder.
pub(crate) fn files(data_dir: &Path, authority: &Authority, identity: &Identity) -> TlsFiles {
    let put = |end: &str, text: &str| -> PathBuf {
        let file = data_dir.with_extension(end);
        std::fs::write(&file, text).expect("written");
        file
    };
    TlsFiles {
        ca: put("ca.pem", &authority.ca_pem()),
        certificate: put("pem", &identity.certificate),
        key: put("key", &identity.key),
    }
}

/// Who trusts the CA and shows this.
pub(crate) fn credentials(authority: &Authority, identity: &Identity) -> Credentials {
    Credentials::parse(&authority.ca_pem(), identity).expect("of our own making")
}

/// Connects to a replica's port.
pub(crate) fn connect(address: SocketAddr, to: ReplicaId, shown: &Credentials) -> Stream {
    let stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    stream.set_nodelay(true).expect("a socket");
    StreamOwned::new(ClientConnection::new(shown.client(), server_name(to)).expect("a session"), stream)
}
