//! Registers whose replicas gossip: the example of `docs/adding-a-protocol.md`, not a store to keep anything in.
//!
//! **Tolerates** crashes of a minority, with loss of everything that was not durable, and a network that loses, duplicates,
//! reorders and delays. Not lies. **Promises** convergence: when nobody writes any more, all replicas come to one value of each
//! register. Of two writes the one of the greater [`Stamp`] wins everywhere, which need not be the later one.
//!
//! A client asks all replicas and believes a majority that answers alike. A replica writes down what it is told and answers when that
//! is durable; every so often it tells another replica, drawn by chance, some of what it has, in the order of the keys.
//!
//! | message | lane | says | answered by |
//! |---|---|---|---|
//! | [`Gossip`] | durable | these registers have these values | nothing |

mod config;
mod gossip;
mod replica;

pub use config::{Config, Options};
pub use gossip::{Cell, Gossip, Stamp};
pub use replica::{Timer, Toy};

use kv::{ClientConfig, Matching, MatchingClient, Seat};
use protocol::quorum;

impl kv::Serves for Toy {
    const NAME: &'static str = "toy";
    type Options = Options;
    type Client = MatchingClient;

    fn configure(seat: Seat, options: Options) -> Config {
        Config { replica: seat.replica, members: seat.members, options }
    }

    fn check(options: &Options) -> Result<(), String> {
        match (options.gossip_ms, options.gossip_cells) {
            (0, _) => Err("gossip_ms: 0, allowed is 1 or more".to_owned()),
            (_, 0) => Err("gossip_cells: 0, allowed is 1 or more".to_owned()),
            _ => Ok(()),
        }
    }

    fn client(config: ClientConfig) -> MatchingClient {
        let equal = quorum::majority(config.group);
        MatchingClient::new(config, Matching { equal, lies: 0 })
    }
}
