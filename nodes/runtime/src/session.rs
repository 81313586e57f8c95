//! A TLS session after its handshake, shared by who reads the connection and who writes to it.

use protocol::ReplicaId;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_rustls::rustls::Connection;

/// Seals what leaves and opens what arrives; it never touches the socket. Both happen on one thread and neither while the
/// other does, so the lock is never waited for.
#[derive(Clone, Debug)]
pub(crate) struct Session(Arc<Mutex<Connection>>);

impl Session {
    pub(crate) fn new(connection: impl Into<Connection>) -> Session {
        Session(Arc::new(Mutex::new(connection.into())))
    }

    /// Whether the certificate that the other side has shown is this replica's.
    pub(crate) fn is_with(&self, replica: ReplicaId) -> bool {
        let connection = self.lock();
        let shown = connection.peer_certificates().and_then(|chain| chain.first());
        shown.is_some_and(|certificate| tls::is_for(certificate, replica))
    }

    /// Appends records that hold these bytes. What the session itself has to say (a new key, say) goes before them.
    ///
    /// # Errors
    /// If the session is over.
    pub(crate) fn seal(&self, mut plain: &[u8], sealed: &mut Vec<u8>) -> io::Result<()> {
        let mut connection = self.lock();
        while !plain.is_empty() {
            // No more than rustls keeps; it keeps nothing afterwards.
            let taken = connection.writer().write(plain)?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            plain = &plain[taken..];
            while connection.wants_write() {
                connection.write_tls(sealed)?;
            }
        }
        Ok(())
    }

    /// Appends what is in these records, and in those that came before and were not yet whole or not yet asked for; tells
    /// whether the other side has said that it says no more.
    ///
    /// # Errors
    /// If a record is none, or not the next one of this session: forged, changed, repeated.
    pub(crate) fn open(&self, mut sealed: &[u8], plain: &mut Vec<u8>) -> io::Result<bool> {
        let mut connection = self.lock();
        loop {
            let state = connection.process_new_packets().map_err(io::Error::other)?;
            let begin = plain.len();
            plain.resize(begin + state.plaintext_bytes_to_read(), 0);
            connection.reader().read_exact(&mut plain[begin..])?;
            if state.peer_has_closed() || sealed.is_empty() {
                return Ok(state.peer_has_closed());
            }
            connection.read_tls(&mut sealed)?;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tls::{Authority, Credentials, VALID_FOR};
    use tokio_rustls::rustls::{ClientConnection, ServerConnection};

    /// n1 and n2, n2 having dialled, after the handshake.
    fn pair() -> (Session, Session) {
        let authority = Authority::new(VALID_FOR);
        let credentials = |id| {
            let identity = authority.issue_replica(ReplicaId(id));
            Credentials::parse(&authority.ca_pem(), &identity).expect("of our own making")
        };
        let mut accepted = ServerConnection::new(credentials(1).server()).expect("a session");
        let mut dialled = ClientConnection::new(credentials(2).client(), tls::server_name(ReplicaId(1)))
            .expect("a session");
        while accepted.is_handshaking() || dialled.is_handshaking() {
            let mut flight = Vec::new();
            while dialled.wants_write() {
                dialled.write_tls(&mut flight).expect("a Vec takes all");
            }
            accepted.read_tls(&mut &flight[..]).expect("there is room");
            accepted.process_new_packets().expect("a client that is let in");
            flight.clear();
            while accepted.wants_write() {
                accepted.write_tls(&mut flight).expect("a Vec takes all");
            }
            if !flight.is_empty() {
                dialled.read_tls(&mut &flight[..]).expect("there is room");
                dialled.process_new_packets().expect("the server that was looked for");
            }
        }
        (Session::new(accepted), Session::new(dialled))
    }

    fn sealed(session: &Session, plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        session.seal(plain, &mut sealed).expect("the session is young");
        sealed
    }

    #[test]
    fn the_other_side_is_who_its_certificate_says() {
        let (accepted, dialled) = pair();
        assert_eq!([1, 2, 3].map(|id| accepted.is_with(ReplicaId(id))), [false, true, false]);
        assert_eq!([1, 2, 3].map(|id| dialled.is_with(ReplicaId(id))), [true, false, false]);
    }

    #[test]
    fn new_keys_are_agreed_upon_in_between() {
        let (accepted, dialled) = pair();
        for round in 0..100_u8 {
            // Asks for new keys of the other side as well, which it announces with the next that it has to say.
            dialled.lock().refresh_traffic_keys().expect("after the handshake");
            for (from, to) in [(&dialled, &accepted), (&accepted, &dialled)] {
                let mut plain = Vec::new();
                assert!(!to.open(&sealed(from, &[round]), &mut plain).expect("the next record"));
                assert_eq!(plain, [round]);
            }
        }
    }

    #[test]
    fn the_last_word_is_heard() {
        let (accepted, dialled) = pair();
        let mut records = sealed(&dialled, b"last");
        dialled.lock().send_close_notify();
        dialled.lock().write_tls(&mut records).expect("a Vec takes all");
        let mut plain = Vec::new();
        assert!(accepted.open(&records, &mut plain).expect("in order"));
        assert_eq!(plain, b"last");
        assert!(accepted.open(&[], &mut plain).expect("nothing new"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_sealed_is_opened_however_it_is_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40_000), 1..4),
            cuts in prop::collection::vec(1_usize..20_000, 1..8),
        ) {
            let (accepted, dialled) = pair();
            let records: Vec<u8> = messages.iter().flat_map(|message| sealed(&dialled, message)).collect();
            let (mut rest, mut plain) = (&records[..], Vec::new());
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                accepted.open(now, &mut plain).expect("in order");
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(plain, messages.concat());
        }

        #[test]
        fn a_record_that_was_changed_repeated_or_left_out_is_refused(
            message in prop::collection::vec(any::<u8>(), 1..100),
            bit in any::<prop::sample::Index>(),
        ) {
            let (accepted, dialled) = pair();
            let first = sealed(&dialled, &message);
            let mut plain = Vec::new();
            accepted.open(&first, &mut plain).expect("the first");
            accepted.open(&first, &mut plain).expect_err("repeated");
            prop_assert_eq!(&plain, &message);

            let (accepted, dialled) = pair();
            let _left_out = sealed(&dialled, &message);
            accepted.open(&sealed(&dialled, &message), &mut plain).expect_err("not the first");

            let (accepted, dialled) = pair();
            let mut changed = sealed(&dialled, &message);
            // Behind the header, which says only how long it is.
            let bit = 5 * 8 + bit.index((changed.len() - 5) * 8);
            changed[bit / 8] ^= 1 << (bit % 8);
            plain.clear();
            accepted.open(&changed, &mut plain).expect_err("changed");
            prop_assert!(plain.is_empty());
        }
    }
}
