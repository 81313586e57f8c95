//! Which workload, with which options: what a plan says.

use crate::append::{Append, AppendRun};
use crate::bank::{Bank, BankLoad, BankRun};
use crate::connect::Binding;
use crate::counter::{Counter, CounterRun};
use crate::generator::{Generator, Next, Scope};
use crate::loading::{FinalReads, Form, Loading};
use crate::put::{Put, PutRun};
use crate::register::{Register, RegisterRun};
use crate::set::{Set, SetRun};
use crate::values::Layout;
use crate::ycsb::{Core, Ycsb, YcsbRun};
use checkers::history::{Call, OpKind, Outcome, Phase};
use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A workload with its options. In a plan it is a name (`register`), or a name with options (`register: { keys: 3 }`).
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    Register(Register),
    Append(Append),
    Set(Set),
    Counter(Counter),
    Bank(Bank),
    Ycsb(Ycsb),
    Put(Put),
}

/// The names of all workloads.
pub const NAMES: [&str; 13] = [
    "register", "append", "set", "counter", "bank", "ycsb-a", "ycsb-b", "ycsb-c", "ycsb-d", "ycsb-e",
    "ycsb-f", "put", "get",
];

/// Why a workload cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// There is no such workload.
    #[error("unknown workload `{0}`, expected one of {names}", names = NAMES.join(", "))]
    Name(String),
    /// An option has a value that cannot be.
    #[error("workload option `{option}` is {found}, allowed is {allowed}")]
    Option {
        /// Its name.
        option: String,
        /// What it is.
        found: String,
        /// What it may be.
        allowed: String,
    },
    /// No op has a positive weight.
    #[error("the workload's proportions are all 0: it would ask nothing")]
    NoOps,
}

pub(crate) fn within(option: &str, found: u64, least: u64, most: u64) -> Result<(), SpecError> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(SpecError::Option {
        option: option.into(),
        found: found.to_string(),
        allowed: format!("{least} to {most}"),
    })
}

pub(crate) fn fraction(of: &str, option: &str, found: f64) -> Result<(), SpecError> {
    if (0.0..=1.0).contains(&found) {
        return Ok(());
    }
    Err(SpecError::Option {
        option: format!("{of}: {option}"),
        found: found.to_string(),
        allowed: "0 to 1".into(),
    })
}

/// A fraction that leaves something for the other ops.
pub(crate) fn mostly(of: &str, option: &str, found: f64) -> Result<(), SpecError> {
    if (0.0..1.0).contains(&found) {
        return Ok(());
    }
    Err(SpecError::Option {
        option: format!("{of}: {option}"),
        found: found.to_string(),
        allowed: "0 to less than 1".into(),
    })
}

impl Spec {
    /// The workload of that name with its default options.
    ///
    /// # Errors
    /// [`SpecError::Name`] if there is none.
    pub fn by_name(name: &str) -> Result<Self, SpecError> {
        Ok(match name.parse()? {
            Kind::Register => Spec::Register(Register::default()),
            Kind::Append => Spec::Append(Append::default()),
            Kind::Set => Spec::Set(Set::default()),
            Kind::Counter => Spec::Counter(Counter::default()),
            Kind::Bank => Spec::Bank(Bank::default()),
            Kind::Ycsb(core) => Spec::Ycsb(Ycsb::new(core)),
            Kind::Put => Spec::Put(Put::default()),
            Kind::Get => Spec::Put(Put::gets(Put::default())?),
        })
    }

    /// The name in plans, tables and folders.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Spec::Register(_) => "register",
            Spec::Append(_) => "append",
            Spec::Set(_) => "set",
            Spec::Counter(_) => "counter",
            Spec::Bank(_) => "bank",
            Spec::Ycsb(ycsb) => ycsb.core.name(),
            Spec::Put(put) if put.is_gets() => "get",
            Spec::Put(_) => "put",
        }
    }

    /// Checks the options. What was parsed has been checked.
    ///
    /// # Errors
    /// If an option is out of its bounds.
    pub fn validate(&self) -> Result<(), SpecError> {
        match self {
            Spec::Register(register) => register.validate(),
            Spec::Append(append) => append.validate(),
            Spec::Set(set) => set.validate(),
            Spec::Counter(counter) => counter.validate(),
            Spec::Bank(bank) => bank.validate(),
            Spec::Ycsb(ycsb) => ycsb.validate(),
            Spec::Put(put) => put.validate(),
        }
    }

    /// The kinds of op that the run phase asks.
    #[must_use]
    pub fn expected_kinds(&self) -> Vec<OpKind> {
        match self {
            Spec::Register(register) => register.expected_kinds(),
            Spec::Append(append) => append.expected_kinds(),
            Spec::Set(set) => set.expected_kinds(),
            Spec::Counter(counter) => counter.expected_kinds(),
            Spec::Bank(bank) => bank.expected_kinds(),
            Spec::Ycsb(ycsb) => ycsb.expected_kinds(),
            Spec::Put(put) => put.expected_kinds(),
        }
    }

    /// Whether its clients are to see what each replica says, and not only what the group does.
    #[must_use]
    pub fn reads_each_replica(&self) -> bool {
        match self {
            Spec::Register(_) | Spec::Append(_) | Spec::Set(_) | Spec::Counter(_) | Spec::Bank(_) => true,
            Spec::Ycsb(_) | Spec::Put(_) => false,
        }
    }

    /// Where its clients go. `leads`: whether the system has a leader, which is where requests are best sent.
    #[must_use]
    pub fn binding(&self, leads: bool) -> Binding {
        match (self.reads_each_replica(), leads) {
            (true, _) => Binding::Replica,
            (false, true) => Binding::Leader,
            (false, false) => Binding::Home,
        }
    }

    /// How keys and values look in the store.
    #[must_use]
    pub fn layout(&self) -> Layout {
        match self {
            Spec::Register(register) => register.layout(),
            Spec::Append(append) => append.layout(),
            Spec::Set(set) => set.layout(),
            Spec::Counter(counter) => counter.layout(),
            Spec::Bank(bank) => bank.layout(),
            Spec::Ycsb(ycsb) => ycsb.layout(),
            Spec::Put(put) => put.layout(),
        }
    }

    /// What is asked in one phase of a run.
    ///
    /// # Panics
    /// If the options break a bound of [`Spec::validate`].
    #[must_use]
    pub fn generator(&self, scope: &Scope) -> Box<dyn Generator> {
        if let Err(error) = self.validate() {
            panic!("options were to be checked before: {error}");
        }
        match (scope.phase, self) {
            (Phase::Load, Spec::Register(_) | Spec::Append(_) | Spec::Set(_) | Spec::Counter(_)) => {
                Box::new(Nothing)
            }
            (Phase::Load, Spec::Bank(bank)) => Box::new(BankLoad::new(bank, scope)),
            (Phase::Load, Spec::Ycsb(ycsb)) => Box::new(Loading::new(Form::Record, ycsb.records)),
            (Phase::Load, Spec::Put(put)) if put.read > 0.0 => {
                Box::new(Loading::new(Form::Register, put.keys))
            }
            (Phase::Load, Spec::Put(_)) => Box::new(Nothing),
            (Phase::Run, Spec::Register(register)) => Box::new(RegisterRun::new(register, scope)),
            (Phase::Run, Spec::Append(append)) => Box::new(AppendRun::new(append, scope)),
            (Phase::Run, Spec::Set(set)) => Box::new(SetRun::new(set, scope)),
            (Phase::Run, Spec::Counter(counter)) => Box::new(CounterRun::new(counter, scope)),
            (Phase::Run, Spec::Bank(bank)) => Box::new(BankRun::new(bank, scope)),
            (Phase::Run, Spec::Ycsb(ycsb)) => Box::new(YcsbRun::new(ycsb, scope)),
            (Phase::Run, Spec::Put(put)) => Box::new(PutRun::new(put, scope)),
            (Phase::Final, spec) => Box::new(FinalReads::new(spec.form(), scope)),
        }
    }

    fn form(&self) -> Form {
        match self {
            Spec::Register(_) | Spec::Put(_) => Form::Register,
            Spec::Append(_) | Spec::Set(_) | Spec::Counter(_) => Form::Lists { together: 1 },
            Spec::Bank(bank) => Form::Lists { together: u64::from(bank.accounts) },
            Spec::Ycsb(_) => Form::Record,
        }
    }
}

/// A phase in which a workload has nothing to do.
struct Nothing;

impl Generator for Nothing {
    fn next(&mut self, _now_ns: u64, _worker: u32) -> Next {
        Next::Done
    }

    fn complete(&mut self, _now_ns: u64, _worker: u32, call: &Call, _outcome: &Outcome) {
        unreachable!("nobody asked {call:?}")
    }
}

/// A workload by its name, before its options are known.
#[derive(Clone, Copy)]
enum Kind {
    Register,
    Append,
    Set,
    Counter,
    Bank,
    Ycsb(Core),
    Put,
    Get,
}

impl FromStr for Kind {
    type Err = SpecError;

    fn from_str(name: &str) -> Result<Self, SpecError> {
        Ok(match name {
            "register" => Kind::Register,
            "append" => Kind::Append,
            "set" => Kind::Set,
            "counter" => Kind::Counter,
            "bank" => Kind::Bank,
            "ycsb-a" => Kind::Ycsb(Core::A),
            "ycsb-b" => Kind::Ycsb(Core::B),
            "ycsb-c" => Kind::Ycsb(Core::C),
            "ycsb-d" => Kind::Ycsb(Core::D),
            "ycsb-e" => Kind::Ycsb(Core::E),
            "ycsb-f" => Kind::Ycsb(Core::F),
            "put" => Kind::Put,
            "get" => Kind::Get,
            _ => return Err(SpecError::Name(name.into())),
        })
    }
}

impl Serialize for Spec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Spec::Register(register) => map.serialize_entry(self.name(), register)?,
            Spec::Append(append) => map.serialize_entry(self.name(), append)?,
            Spec::Set(set) => map.serialize_entry(self.name(), set)?,
            Spec::Counter(counter) => map.serialize_entry(self.name(), counter)?,
            Spec::Bank(bank) => map.serialize_entry(self.name(), bank)?,
            Spec::Ycsb(ycsb) => map.serialize_entry(self.name(), ycsb)?,
            Spec::Put(put) => map.serialize_entry(self.name(), put)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpecVisitor)
    }
}

struct SpecVisitor;

impl<'de> Visitor<'de> for SpecVisitor {
    type Value = Spec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a workload's name ({}), or one name with its options", NAMES.join(", "))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Spec, E> {
        Spec::by_name(name).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Spec, A::Error> {
        let Some(name) = map.next_key::<String>()? else {
            return Err(de::Error::invalid_length(0, &self));
        };
        let spec = match name.parse().map_err(de::Error::custom)? {
            Kind::Register => Spec::Register(options(&mut map)?),
            Kind::Append => Spec::Append(options(&mut map)?),
            Kind::Set => Spec::Set(options(&mut map)?),
            Kind::Counter => Spec::Counter(options(&mut map)?),
            Kind::Bank => Spec::Bank(options(&mut map)?),
            Kind::Ycsb(core) => Spec::Ycsb(Ycsb::with(core, &options(&mut map)?)),
            Kind::Put => Spec::Put(options(&mut map)?),
            Kind::Get => Spec::Put(Put::gets(options(&mut map)?).map_err(de::Error::custom)?),
        };
        spec.validate().map_err(de::Error::custom)?;
        match map.next_key::<String>()? {
            None => Ok(spec),
            Some(_) => Err(de::Error::invalid_length(2, &self)),
        }
    }
}

/// The options behind a name; `register:` with nothing behind it means the defaults.
fn options<'de, O: DeserializeOwned + Default, A: MapAccess<'de>>(map: &mut A) -> Result<O, A::Error> {
    Ok(map.next_value::<Option<O>>()?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Share;
    use crate::ycsb::Distribution;

    fn parse(yaml: &str) -> Result<Spec, String> {
        serde_yaml::from_str(yaml).map_err(|e| e.to_string())
    }

    #[test]
    fn every_name_parses_and_comes_back_with_all_options_spelled_out() {
        for name in NAMES {
            let spec = Spec::by_name(name).expect("a known name");
            assert_eq!(spec.name(), name);
            assert_eq!(spec.validate(), Ok(()));
            assert!(!spec.expected_kinds().is_empty());
            assert_eq!(parse(name), Ok(spec.clone()));
            assert_eq!(parse(&format!("{name}:")), Ok(spec.clone()));
            let resolved = serde_yaml::to_string(&spec).expect("a spec can be written");
            assert_eq!(parse(&resolved), Ok(spec.clone()), "{resolved}");
            let json = serde_json::to_string(&spec).expect("a spec can be written");
            assert_eq!(serde_json::from_str::<Spec>(&json).expect("JSON is as good"), spec);
        }
    }

    #[test]
    fn options_override_the_defaults() {
        let Ok(Spec::Ycsb(ycsb)) =
            parse("ycsb-d: { records: 5, fields: 2, distribution: { hotspot: { records: 0.1, ops: 0.9 } } }")
        else {
            panic!("does not parse")
        };
        assert_eq!((ycsb.core, ycsb.records, ycsb.fields, ycsb.field_bytes), (Core::D, 5, 2, 100));
        assert_eq!(ycsb.distribution, Distribution::Hotspot { records: 0.1, ops: 0.9 });
        assert_eq!(ycsb.proportions.insert, 0.05);
        let Ok(Spec::Ycsb(ycsb)) = parse("ycsb-a: { distribution: uniform, proportions: { read: 1 } }")
        else {
            panic!("does not parse")
        };
        assert_eq!((ycsb.distribution, ycsb.proportions.update), (Distribution::Uniform, 0.0));
        assert_eq!(parse("put: { read: 1.0 }").expect("parses").expected_kinds(), [OpKind::Read]);
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("registre", "unknown workload `registre`, expected one of register, append"),
            ("register: { kyes: 3 }", "unknown field `kyes`"),
            ("register: { keys: 0 }", "option `keys` is 0, allowed is 1 to 1024"),
            ("register: { write: 0 }", "option `write` is 0"),
            ("append: { read: 1.5 }", "option `append: read` is 1.5, allowed is 0 to 1"),
            ("set: { read: 1 }", "option `set: read` is 1, allowed is 0 to less than 1"),
            ("set: { elements: 3 }", "unknown field `elements`"),
            ("counter: { amount_max: 0 }", "option `amount_max` is 0"),
            ("bank: { accounts: 1 }", "option `accounts` is 1, allowed is 2 to 64"),
            ("bank: { initial: 0, overdraft: false }", "option `initial` is 0, allowed is 1 to"),
            ("ycsb-a: { proportions: { read: 0 } }", "would ask nothing"),
            ("ycsb-a: { field_bytes: 4 }", "option `field_bytes` is 4"),
            ("ycsb-a: { distribution: zipf }", "unknown variant `zipf`"),
            ("get: { read: 0.5 }", "option `get: read` is 0.5, allowed is 1"),
            ("put: { keys: 1000000, key_bytes: 6 }", "option `key_bytes` is 6, allowed is 7"),
            ("{ register: {}, append: {} }", "invalid length 2"),
            ("{}", "invalid length 0"),
            ("7", "expected a workload's name"),
        ];
        for (yaml, expected) in cases {
            let error = parse(yaml).expect_err(yaml);
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }

    #[test]
    fn only_what_is_read_later_is_loaded() {
        let scope =
            Scope { phase: Phase::Load, workers: 1, seed: 1, keys_used: 0, share: Share::WHOLE, readers: 1 };
        let first = |name: &str| Spec::by_name(name).expect("a known name").generator(&scope).next(0, 0);
        assert_eq!(first("register"), Next::Done);
        for name in ["append", "set", "counter"] {
            assert_eq!(first(name), Next::Done, "{name}");
        }
        assert_eq!(parse("bank: { initial: 0 }").expect("parses").generator(&scope).next(0, 0), Next::Done);
        let Next::Op(Call::Txn(opening)) = first("bank") else { panic!("a bank is opened") };
        assert_eq!(opening.len(), 5);
        assert_eq!(first("put"), Next::Done);
        assert_eq!(first("ycsb-c"), Next::Op(Call::Insert { key: 0, value: 1 }));
        let reads = parse("put: { read: 0.5 }").expect("parses");
        assert_eq!(reads.generator(&scope).next(0, 0), Next::Op(Call::Write { key: 0, value: 1 }));
    }
}
