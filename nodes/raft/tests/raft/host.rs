//! One replica by itself.

use raft::Raft;

pub(crate) type Host = sim::Host<Raft>;
pub(crate) type Sent = sim::Sent<Raft>;

/// The disk of a replica that is down is lost. It comes back as somebody else.
pub(crate) fn wipe(host: &mut Host) {
    host.wipe();
    host.config.incarnation.0 += 1;
}
