//! The key-value store on one node, without replication: the baseline of every comparison.
//!
//! It tolerates crashes of its process and of its machine as far as its disk survives, and serves nobody meanwhile.
//! A write is applied and recorded at once and answered when its record is durable. A read is answered from the state at
//! once, but if that state has writes whose records are not durable yet, the answer waits for them: nothing that anybody was
//! shown is lost by a crash. There is one journal record for each write, so the log index is the journal position plus one.
//!
//! | file | concept |
//! |---|---|
//! | `config.rs` | what is fixed for one life |
//! | `record.rs` | what the journal holds |
//! | `replica.rs` | the replica: requests, durability, snapshots, recovery |

mod config;
mod record;
mod replica;

pub use config::{Config, Options};
pub use record::Record;
pub use replica::{Message, Standalone, Timer};

impl kv::Serves for Standalone {
    type Client = kv::LeaderClient;

    fn client(config: kv::ClientConfig) -> kv::LeaderClient {
        kv::LeaderClient::new(config)
    }
}
