//! Who said it: signatures and authenticators, for protocols whose replicas do not trust one another.
//!
//! [`Keys`] are one principal's: they sign as nobody else, so that whoever has them, an adversary included, can forge nothing of
//! another's. They come in two forms, of which a run uses one:
//!
//! | | signature | authenticator (MAC) | for |
//! |---|---|---|---|
//! | real | Ed25519 | HMAC-SHA256 with a secret of the two, a key each direction, cut to 16 bytes | nodes, and some simulated seeds |
//! | hashed | keyed XXH3, 16 bytes | the same | the simulator: a signature costs some 100 ns, not 50 µs |
//!
//! What a hashed signature lacks is not seen by a core: nobody can ask a [`Keys`] for another's.

use crate::ids::{ReplicaId, SessionId};
use ring::hmac::{self, HMAC_SHA256};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// Who has keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Principal {
    /// All nodes that stand for it have the same keys.
    Replica(ReplicaId),
    /// A client.
    Client(SessionId),
}

/// That one principal said these bytes: anybody can check it and show it to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Signature {
    /// Of a simulated run.
    Hashed([u8; 16]),
    /// The two halves of an Ed25519 signature.
    Ed25519 {
        /// The commitment.
        r: [u8; 32],
        /// The response.
        s: [u8; 32],
    },
}

/// That one principal said these bytes to another: only that one can check it, and nobody else would believe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mac([u8; 16]);

/// The keys of one principal of a run. Clones share them.
///
/// Signatures are of bare bytes: whoever signs puts into them what they are to mean, and of which kind they are.
#[derive(Clone)]
pub struct Keys(Arc<Form>);

enum Form {
    Hashed { whose: Principal, run: u64 },
    Real { whose: Principal, own: Ed25519KeyPair, others: BTreeMap<Principal, Other> },
}

struct Other {
    public: [u8; 32],
    to: hmac::Key,
    from: hmac::Key,
}

impl Keys {
    /// Whose they are.
    #[must_use]
    pub fn whose(&self) -> Principal {
        match &*self.0 {
            Form::Hashed { whose, .. } | Form::Real { whose, .. } => *whose,
        }
    }

    /// Signs as their owner.
    ///
    /// # Panics
    /// Never: an Ed25519 signature has 64 bytes.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        match &*self.0 {
            Form::Hashed { whose, run } => Signature::Hashed(hash(*run, &[*whose], bytes)),
            Form::Real { own, .. } => {
                let signature = own.sign(bytes);
                let (r, s) = signature.as_ref().split_at(32);
                let half = |half: &[u8]| half.try_into().expect("64 bytes");
                Signature::Ed25519 { r: half(r), s: half(s) }
            }
        }
    }

    /// Whether `by` has signed these bytes. Nobody of whom nothing is known has.
    #[must_use]
    pub fn verify(&self, by: Principal, bytes: &[u8], signature: &Signature) -> bool {
        match (&*self.0, signature) {
            (Form::Hashed { run, .. }, Signature::Hashed(hashed)) => *hashed == hash(*run, &[by], bytes),
            (Form::Real { own, whose, others }, Signature::Ed25519 { r, s }) => {
                let own = (by == *whose).then(|| own.public_key().as_ref());
                let public = own.or_else(|| others.get(&by).map(|other| &other.public[..]));
                let verifies = |public| {
                    UnparsedPublicKey::new(&ED25519, public).verify(bytes, &[*r, *s].concat()).is_ok()
                };
                public.is_some_and(verifies)
            }
            (Form::Hashed { .. }, Signature::Ed25519 { .. }) | (Form::Real { .. }, Signature::Hashed(_)) => {
                false
            }
        }
    }

    /// An authenticator of these bytes for `to`; `None` if nothing is known of it.
    #[must_use]
    pub fn mac(&self, to: Principal, bytes: &[u8]) -> Option<Mac> {
        match &*self.0 {
            Form::Hashed { whose, run } => Some(Mac(hash(*run, &[*whose, to], bytes))),
            Form::Real { others, .. } => Some(cut(&others.get(&to)?.to, bytes)),
        }
    }

    /// Whether `from` has said these bytes to the owner of these keys.
    #[must_use]
    pub fn verify_mac(&self, from: Principal, bytes: &[u8], mac: &Mac) -> bool {
        let right = match &*self.0 {
            Form::Hashed { whose, run } => Some(Mac(hash(*run, &[from, *whose], bytes))),
            Form::Real { others, .. } => others.get(&from).map(|other| cut(&other.from, bytes)),
        };
        // All bytes are looked at, so that the time it takes tells nothing.
        let differ = |right: Mac| right.0.iter().zip(mac.0).fold(0, |differ, (a, b)| differ | (a ^ b));
        right.is_some_and(|right| differ(right) == 0)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({:?})", self.whose())
    }
}

/// XXH3 of the bytes under a key of these principals in this run.
fn hash(run: u64, principals: &[Principal], bytes: &[u8]) -> [u8; 16] {
    let key = principals.iter().fold(run, |key, principal| {
        let (kind, number) = match principal {
            Principal::Replica(id) => (0, u64::from(id.0)),
            Principal::Client(id) => (1, id.0),
        };
        let mut name = [kind; 9];
        name[1..].copy_from_slice(&number.to_le_bytes());
        xxh3_64_with_seed(&name, key)
    });
    xxh3_128_with_seed(bytes, key).to_le_bytes()
}

fn cut(key: &hmac::Key, bytes: &[u8]) -> Mac {
    Mac(*hmac::sign(key, bytes).as_ref().first_chunk().expect("HMAC-SHA256 has 32 bytes"))
}

/// What a principal's real keys are made of: a node's file. It holds nothing by which another could be spoken for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// Whose.
    pub whose: Principal,
    secret: [u8; 32],
    others: Vec<Known>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    who: Principal,
    public: [u8; 32],
    /// With whose file this is.
    shared: [u8; 32],
}

impl KeyFile {
    /// The keys.
    ///
    /// # Errors
    /// If the secret is no Ed25519 key.
    pub fn keys(&self) -> Result<Keys, String> {
        let own = Ed25519KeyPair::from_seed_unchecked(&self.secret).map_err(|error| error.to_string())?;
        let other = |known: &Known| {
            let key = |from, to| hmac::Key::new(HMAC_SHA256, &derive(&known.shared, &(from, to)));
            let (to, from) = (key(self.whose, known.who), key(known.who, self.whose));
            (known.who, Other { public: known.public, to, from })
        };
        let others = self.others.iter().map(other).collect();
        Ok(Keys(Arc::new(Form::Real { whose: self.whose, own, others })))
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFile({:?})", self.whose)
    }
}

/// A secret that follows from another and what it is for.
fn derive(secret: &[u8; 32], purpose: &impl Serialize) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(HMAC_SHA256, secret), &crate::codec::encode(purpose));
    *tag.as_ref().first_chunk().expect("HMAC-SHA256 has 32 bytes")
}

/// All keys of a run: whoever has it can speak for anybody, so only the harness does.
pub enum KeyRing {
    /// Hashed keys, which follow from this number.
    Hashed(u64),
    /// Real keys, which follow from this secret.
    Real([u8; 32]),
}

impl KeyRing {
    /// The keys of one principal, which knows these.
    ///
    /// # Panics
    /// Never: any 32 bytes make an Ed25519 key.
    #[must_use]
    pub fn keys(&self, whose: Principal, known: &[Principal]) -> Keys {
        match self {
            KeyRing::Hashed(run) => Keys(Arc::new(Form::Hashed { whose, run: *run })),
            KeyRing::Real(secret) => key_file(secret, whose, known).keys().expect("any 32 bytes make a key"),
        }
    }

    /// The same for a node's disk; `None` if the keys are not real.
    #[must_use]
    pub fn file(&self, whose: Principal, known: &[Principal]) -> Option<KeyFile> {
        match self {
            KeyRing::Hashed(_) => None,
            KeyRing::Real(secret) => Some(key_file(secret, whose, known)),
        }
    }
}

fn key_file(ring: &[u8; 32], whose: Principal, known: &[Principal]) -> KeyFile {
    let secret = |who: Principal| derive(ring, &("signs", who));
    let about = |&who: &Principal| {
        let pair = Ed25519KeyPair::from_seed_unchecked(&secret(who)).expect("any 32 bytes make a key");
        let public = pair.public_key().as_ref().try_into().expect("an Ed25519 key has 32 bytes");
        Known { who, public, shared: derive(ring, &("shared", whose.min(who), whose.max(who))) }
    };
    let others = known.iter().filter(|who| **who != whose).map(about).collect();
    KeyFile { whose, secret: secret(whose), others }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R1: Principal = Principal::Replica(ReplicaId(1));
    const R2: Principal = Principal::Replica(ReplicaId(2));
    const R3: Principal = Principal::Replica(ReplicaId(3));
    const CLIENT: Principal = Principal::Client(SessionId(1));
    const ALL: [Principal; 4] = [R1, R2, R3, CLIENT];

    fn rings() -> [KeyRing; 2] {
        [KeyRing::Hashed(7), KeyRing::Real([7; 32])]
    }

    #[test]
    fn everybody_believes_a_signature_and_nobody_believes_a_forged_one() {
        for ring in rings() {
            let [r1, r2, r3, client] = ALL.map(|whose| ring.keys(whose, &ALL));
            let signature = r1.sign(b"prepare 5");
            for keys in [&r1, &r2, &r3, &client] {
                assert!(keys.verify(R1, b"prepare 5", &signature), "{keys:?}");
                assert!(!keys.verify(R1, b"prepare 6", &signature), "{keys:?}: it says something else");
                for other in [R2, R3, CLIENT] {
                    assert!(
                        !keys.verify(other, b"prepare 5", &signature),
                        "{keys:?}: r1 signed, not {other:?}"
                    );
                }
                // Whoever wants to speak as r1 can only sign as himself.
                for forger in [&r2, &r3, &client] {
                    assert!(!keys.verify(R1, b"prepare 5", &forger.sign(b"prepare 5")), "{forger:?}");
                }
            }
            assert_eq!(r1.clone().sign(b"prepare 5"), signature, "it is the same each time");
        }
    }

    #[test]
    fn an_authenticator_is_of_one_for_one_other() {
        for ring in rings() {
            let [r1, r2, r3, client] = ALL.map(|whose| ring.keys(whose, &ALL));
            let mac = r1.mac(R2, b"reply").expect("r2 is known");
            assert!(r2.verify_mac(R1, b"reply", &mac));
            assert!(!r2.verify_mac(R1, b"other", &mac) && !r2.verify_mac(R3, b"reply", &mac));
            assert!(!r3.verify_mac(R1, b"reply", &mac) && !client.verify_mac(R1, b"reply", &mac));
            assert!(!r1.verify_mac(R2, b"reply", &mac), "it is not what r2 says to r1");
            for forger in [&r3, &client] {
                assert!(!r2.verify_mac(R1, b"reply", &forger.mac(R2, b"reply").expect("r2 is known")));
            }
        }
    }

    #[test]
    fn keys_of_another_run_or_form_are_nobodys() {
        let [hashed, real] = rings().map(|ring| ring.keys(R1, &ALL));
        let others = [KeyRing::Hashed(8).keys(R2, &ALL), KeyRing::Real([8; 32]).keys(R2, &ALL)];
        for signature in [hashed.sign(b"x"), real.sign(b"x")] {
            assert!(others.iter().all(|keys| !keys.verify(R1, b"x", &signature)));
        }
        assert!(!hashed.verify(R1, b"x", &real.sign(b"x")) && !real.verify(R1, b"x", &hashed.sign(b"x")));
    }

    #[test]
    fn nobody_unknown_is_believed() {
        let ring = KeyRing::Real([7; 32]);
        let (r1, r3) = (ring.keys(R1, &[R1, R2]), ring.keys(R3, &ALL));
        assert!(!r1.verify(R3, b"x", &r3.sign(b"x")));
        assert_eq!(r1.mac(R3, b"x"), None);
        assert!(!r1.verify_mac(R3, b"x", &r3.mac(R1, b"x").expect("r1 is known")));
    }

    #[test]
    fn a_nodes_file_has_its_own_secret_and_no_other() {
        let ring = KeyRing::Real([7; 32]);
        let file = ring.file(R1, &ALL).expect("they are real");
        let written = serde_json::to_string(&file).expect("JSON");
        let read: KeyFile = serde_json::from_str(&written).expect("what was written");
        let keys = read.keys().expect("its own secret");
        assert!(ring.keys(R2, &ALL).verify(R1, b"x", &keys.sign(b"x")));
        let others =
            serde_json::to_string(&ring.file(R2, &ALL).expect("they are real").secret).expect("JSON");
        assert!(!written.contains(&others));
        assert_eq!(
            format!("{keys:?} {file:?}").matches("Replica(ReplicaId(1))").count(),
            2,
            "no secret is printed"
        );
        assert!(KeyRing::Hashed(7).file(R1, &ALL).is_none());
    }
}
