//! What an operator, or a nemesis, asks of a running group: other members, another leader.
//!
//! A member is a replica *and* which life of its disk: a replica whose disk was wiped has forgotten what it
//! promised, so it comes back under a new [`Incarnation`], a stranger that votes for nobody until a
//! change of members puts it in the old one's place.

use crate::ids::{Incarnation, ReplicaId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A request to the group through one of its replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AdminRequest {
    /// Make exactly these the voters.
    ChangeMembers {
        /// The voters to be, each with the life of its disk that is to vote.
        voters: BTreeMap<ReplicaId, Incarnation>,
    },
    /// Have another voter lead.
    TransferLeadership {
        /// Who is to lead.
        to: ReplicaId,
    },
}

/// The answer to an [`AdminRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminReply {
    /// Begun; [`crate::Status`] says when it is done. It may still fail with the leader that began it.
    Accepted,
    /// Nothing was done: only the leader can.
    NotLeader {
        /// Whom to ask instead, if known.
        leader: Option<ReplicaId>,
    },
    /// Nothing was done.
    Refused {
        /// Why, for people.
        reason: String,
    },
}
