//! What crosses a peer connection after the hello: a frame holds one packet.

use protocol::Describe;
use serde::{Deserialize, Serialize};

/// As it arrives.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Packet<M> {
    /// Nothing to say. Sent on every link now and then, so that a dead connection is noticed where the protocol is silent, and
    /// a cut link shows that it is cut.
    Ping,
    /// From core to core.
    Message(M),
}

/// As it leaves: the same bytes, the message borrowed.
#[derive(Debug, Serialize)]
pub(super) enum PacketRef<'a, M> {
    Ping,
    Message(&'a M),
}

impl<M: Describe> PacketRef<'_, M> {
    /// The kind of the message, if it is one.
    pub(super) fn kind(&self) -> Option<&'static str> {
        match self {
            PacketRef::Ping => None,
            PacketRef::Message(message) => Some(message.kind()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::codec;

    #[test]
    fn what_leaves_is_what_arrives() {
        let message = codec::encode(&PacketRef::Message(&7_u32));
        assert!(matches!(codec::decode(&message), Ok(Packet::Message(7_u32))));
        assert!(matches!(
            codec::decode::<Packet<u32>>(&codec::encode(&PacketRef::<u32>::Ping)),
            Ok(Packet::Ping)
        ));
    }
}
