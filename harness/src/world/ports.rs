//! Ports for nodes that come and go: theirs for as long as a run lasts.

use crate::cluster::ClusterConf;
use crate::host::Remote;
use anyhow::Context;
use protocol::NodeId;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
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
    ids: &[NodeId],
    conf: Option<&ClusterConf>,
) -> anyhow::Result<(BTreeMap<NodeId, Ports>, HeldPorts)> {
    let hosts = conf.map(|conf| conf.hosts_for(ids.len())).transpose()?;
    let mut held = Vec::new();
    let mut free = |host: IpAddr| -> anyhow::Result<SocketAddr> {
        let (socket, address) = hold_port(host).with_context(|| format!("finding a free port on {host}"))?;
        held.push(socket);
        Ok(address)
    };
    let ports = |(i, id): (usize, &NodeId)| {
        let host = hosts.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |hosts| hosts[i].address);
        Ok((*id, Ports { peer: free(host)?, client: free(host)?, http: free(host)? }))
    };
    let ports = ids.iter().enumerate().map(ports).collect::<anyhow::Result<_>>()?;
    Ok((ports, held))
}

/// The ports that the hosts' configuration gives to their nodes.
pub(crate) fn fixed_ports(ids: &[NodeId], hosts: &[Remote]) -> BTreeMap<NodeId, Ports> {
    let ports = |(id, host): (&NodeId, &Remote)| {
        let (address, ports) = (host.conf().address, host.conf().ports);
        let at = |port| SocketAddr::new(address, port);
        (*id, Ports { peer: at(ports.peer), client: at(ports.client), http: at(ports.http) })
    };
    ids.iter().zip(hosts).map(ports).collect()
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
    use std::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn a_held_port_is_the_nodes_again_and_again_and_nobody_elses() {
        let ids = [NodeId(1), NodeId(2)];
        let (ports, held) = free_ports(&ids, None).expect("there are ports");
        let address = ports[&NodeId(1)].client;
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
