//! Ports for nodes that come and go: theirs for as long as a run lasts.

use crate::cluster::{self, ClusterConf};
use anyhow::Context;
use protocol::ReplicaId;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpSocket;

/// The ports of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) peer: SocketAddr,
    pub(crate) client: SocketAddr,
    pub(crate) http: SocketAddr,
}

/// Sockets that are bound and never listen. They share their ports with the nodes, whose listeners allow it, and with nobody
/// else: otherwise another run, or a client's own end of a connection, may take the port of a node that is down, which
/// could not start again.
pub(crate) type HeldPorts = Vec<TcpSocket>;

/// Ports that nobody has now, nor will have while they are held.
pub(crate) fn free_ports(
    ids: &[ReplicaId],
    conf: Option<&ClusterConf>,
) -> anyhow::Result<(BTreeMap<ReplicaId, Ports>, HeldPorts)> {
    let mut held = Vec::new();
    let mut free = |host: IpAddr| -> anyhow::Result<SocketAddr> {
        let (socket, address) = hold_port(host).with_context(|| format!("finding a free port on {host}"))?;
        held.push(socket);
        Ok(address)
    };
    let ports = |id: &ReplicaId| {
        let host = cluster::address(conf, *id)?;
        Ok((*id, Ports { peer: free(host)?, client: free(host)?, http: free(host)? }))
    };
    let ports = ids.iter().map(ports).collect::<anyhow::Result<_>>()?;
    Ok((ports, held))
}

fn hold_port(host: IpAddr) -> std::io::Result<(TcpSocket, SocketAddr)> {
    let socket = if host.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(false)?;
    socket.bind((host, 0).into())?;
    // Only now: two that both allow it from the beginning could be given one port.
    socket.set_reuseaddr(true)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    #[tokio::test]
    async fn a_held_port_is_the_nodes_again_and_again_and_nobody_elses() {
        let ids = [ReplicaId(1), ReplicaId(2)];
        let (ports, held) = free_ports(&ids, None).expect("there are ports");
        let address = ports[&ReplicaId(1)].client;
        for _life in 0..3 {
            TcpStream::connect(address).expect_err("nobody listens");
            let node = TcpListener::bind(address).expect("nodes allow it to be shared");
            TcpStream::connect(address).expect("the node listens");
            drop(node);
        }
        let stranger = TcpSocket::new_v4().expect("a socket");
        stranger.set_reuseaddr(false).expect("a setting");
        stranger.bind(address).expect_err("it is held");
        // Another run at the same time, many times over.
        let taken: BTreeSet<u16> =
            held.iter().map(|socket| socket.local_addr().expect("it is bound").port()).collect();
        assert_eq!(taken.len(), 6);
        let others: Vec<_> =
            (0..500).map(|_| hold_port(Ipv4Addr::LOCALHOST.into()).expect("there are ports")).collect();
        assert!(!others.iter().any(|(_, address)| taken.contains(&address.port())));
    }
}
