//! The door of a port: where connections stand that have not yet shown whose they are.
//!
//! Opening a connection costs a stranger nothing, so whoever stands at the door is given little: places of its own (those of
//! clients and peers inside are not touched), few for each address, and not much time. When an address has no place left,
//! whoever has stood longest goes, not who comes: a client or peer that means it is through in milliseconds, so it gets in
//! even from an address that it shares with thousands who say nothing.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long anybody may stand at a door: this node's, or this node at another's.
pub(crate) const DOOR_PATIENCE: Duration = Duration::from_secs(3);
/// A door has as many places as so many addresses may have.
const FULL_ADDRESSES: usize = 4;

/// Why a connection did not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unadmitted {
    #[error("it did not say who it is within {DOOR_PATIENCE:?}")]
    TooSlow,
    #[error("it had not yet said who it is when too many others came")]
    PushedOut,
}

impl From<Unadmitted> for io::Error {
    fn from(unadmitted: Unadmitted) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, unadmitted)
    }
}

/// The door of one port.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    places_per_address: usize,
    standing: Arc<Mutex<Standing>>,
}

/// Who stands there, oldest first. Who is dropped from here is pushed out.
#[derive(Debug, Default)]
struct Standing {
    addresses: BTreeMap<IpAddr, BTreeMap<u64, oneshot::Sender<()>>>,
    next_ticket: u64,
}

/// One place at a door.
#[derive(Debug)]
pub(crate) struct Place {
    door: Door,
    address: IpAddr,
    ticket: u64,
    pushed_out: oneshot::Receiver<()>,
}

impl Door {
    pub(crate) fn new(places_per_address: usize) -> Door {
        Door { places_per_address, standing: Arc::default() }
    }

    /// Somebody has come.
    pub(crate) fn enter(&self, address: IpAddr) -> Place {
        let mut standing = self.standing();
        let here = standing.addresses.get(&address).map_or(0, BTreeMap::len);
        if here >= self.places_per_address {
            standing.push_out(address);
        } else if standing.count() >= self.places_per_address * FULL_ADDRESSES {
            standing.push_out_of_the_fullest();
        }
        let ticket = standing.next_ticket;
        standing.next_ticket += 1;
        let (stay, pushed_out) = oneshot::channel();
        standing.addresses.entry(address).or_default().insert(ticket, stay);
        Place { door: self.clone(), address, ticket, pushed_out }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    fn count(&self) -> usize {
        self.addresses.values().map(BTreeMap::len).sum()
    }

    fn push_out_of_the_fullest(&mut self) {
        let fullest = self.addresses.iter().max_by_key(|(_, places)| places.len());
        if let Some(address) = fullest.map(|(address, _)| *address) {
            self.push_out(address);
        }
    }

    fn push_out(&mut self, address: IpAddr) {
        let oldest = self.addresses.get(&address).and_then(|places| places.keys().next().copied());
        if let Some(ticket) = oldest {
            self.leave(address, ticket);
        }
    }

    fn leave(&mut self, address: IpAddr, ticket: u64) {
        if let Some(places) = self.addresses.get_mut(&address) {
            places.remove(&ticket);
            if places.is_empty() {
                self.addresses.remove(&address);
            }
        }
    }
}

impl Place {
    /// What must be over, and well, before whoever stands here is let in.
    ///
    /// # Errors
    /// The greeting's own, or one that says why it did not come to an end.
    pub(crate) async fn greet<T, E: From<Unadmitted>>(
        mut self,
        greeting: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            biased;
            greeted = timeout(DOOR_PATIENCE, greeting) => {
                greeted.unwrap_or_else(|_elapsed| Err(Unadmitted::TooSlow.into()))
            }
            _gone = &mut self.pushed_out => Err(Unadmitted::PushedOut.into()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.standing().leave(self.address, self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    async fn silence() -> Result<(), Unadmitted> {
        pending().await
    }

    async fn hello() -> Result<(), Unadmitted> {
        Ok(())
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn count(door: &Door) -> usize {
        door.standing().count()
    }

    #[tokio::test]
    async fn who_comes_to_a_full_door_gets_in_and_who_stood_longest_goes() {
        let door = Door::new(2);
        let (first, second) = (door.enter(address(1)), door.enter(address(1)));
        let elsewhere = door.enter(address(2));
        let third = door.enter(address(1));
        assert_eq!(first.greet(silence()).await, Err(Unadmitted::PushedOut));
        assert_eq!(third.greet(hello()).await, Ok(()));
        // There was room again.
        let _fourth = door.enter(address(1));
        assert_eq!(second.greet(hello()).await, Ok(()));
        assert_eq!(elsewhere.greet(hello()).await, Ok(()));
    }

    #[tokio::test]
    async fn many_addresses_together_push_out_those_of_the_fullest() {
        let door = Door::new(3);
        let full: Vec<_> = (0..3).map(|_| door.enter(address(0))).collect();
        let others: Vec<_> = (1..=9).map(|last| door.enter(address(last))).collect();
        assert_eq!(count(&door), 3 * FULL_ADDRESSES);
        let late = door.enter(address(10));
        assert_eq!(count(&door), 3 * FULL_ADDRESSES);
        let oldest = full.into_iter().next().expect("three stand there");
        assert_eq!(oldest.greet(silence()).await, Err(Unadmitted::PushedOut));
        drop((others, late));
        assert_eq!(count(&door), 0);
    }
}
