//! The general search over models of our own making: a mutex, several registers at once, a string per key.

use crate::support::data::{file, index, text};
use crate::support::edn::{Edn, parse, parse_history};
use checkers::linearizability::wgl::{Found, Limits, Model, Span, State, search};
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

fn limits() -> Limits {
    Limits { deadline: Instant::now() + Duration::from_secs(30), memory_bytes_max: 4 << 30 }
}

/// Numbers states.
struct Numbers<T> {
    states: Vec<T>,
    numbers: HashMap<T, State>,
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    /// The initial state is number 0.
    fn new(initial: T) -> Self {
        Self { states: vec![initial.clone()], numbers: HashMap::from([(initial, State(0))]) }
    }

    fn of(&mut self, state: T) -> State {
        let next = State(self.states.len() as u32);
        *self.numbers.entry(state.clone()).or_insert_with(|| {
            self.states.push(state);
            next
        })
    }
}

/// A lock that is taken (`true`) or released.
struct Mutex(Vec<bool>);

impl Model for Mutex {
    fn initial(&self) -> State {
        State(0)
    }

    fn step(&mut self, state: State, op: usize) -> Option<State> {
        let is_taken = state == State(1);
        (self.0[op] != is_taken).then_some(State(u32::from(!is_taken)))
    }

    fn is_read_only(&self, _: usize) -> bool {
        false
    }
}

/// Ops of a mutex: taken or released, invoked, returned.
fn mutex(ops: &[(bool, u64, Option<u64>)]) -> Found {
    let spans: Vec<Span> =
        ops.iter().map(|(_, invoked, returned)| Span { invoked: *invoked, returned: *returned }).collect();
    search(&mut Mutex(ops.iter().map(|op| op.0).collect()), &spans, &limits())
}

#[test]
fn a_mutex_is_held_by_one() {
    let fine = [(true, 0, Some(1)), (true, 2, Some(9)), (false, 4, Some(5))];
    assert_eq!(mutex(&fine), Found::Order(vec![0, 2, 1]));
    let Found::None(stuck) = mutex(&[(true, 0, Some(1)), (true, 2, Some(3))]) else { panic!("two hold it") };
    assert_eq!((stuck.op, stuck.prefixes), (1, vec![vec![0]]));
    // A release of unknown outcome may have happened.
    assert_eq!(
        mutex(&[(true, 0, Some(1)), (false, 2, None), (true, 4, Some(5))]),
        Found::Order(vec![0, 1, 2])
    );
    assert!(matches!(mutex(&[(true, 0, Some(1)), (false, 6, None), (true, 4, Some(5))]), Found::None(_)));
}

/// Which register, what, and whether it is written.
type Access = (usize, u64, bool);

/// Registers that are read and written several at a time.
struct Registers {
    ops: Vec<Vec<Access>>,
    states: Numbers<Vec<u64>>,
}

impl Model for Registers {
    fn initial(&self) -> State {
        State(0)
    }

    fn step(&mut self, state: State, op: usize) -> Option<State> {
        let mut values = self.states.states[state.0 as usize].clone();
        for &(register, value, is_written) in &self.ops[op] {
            if is_written {
                values[register] = value;
            } else if values[register] != value {
                return None;
            }
        }
        Some(self.states.of(values))
    }

    fn is_read_only(&self, op: usize) -> bool {
        self.ops[op].iter().all(|(_, _, is_written)| !is_written)
    }
}

#[test]
fn several_registers_of_knossos() {
    for [name, model, expected] in index("knossos", ["file", "model", "expected"]) {
        if model == "MultiRegister" {
            let path = file(&format!("knossos/{name}")).expect("the index names files that are there");
            let (spans, ops) = multi_register(&text(&path));
            let count = ops.len();
            let mut model = Registers { ops, states: Numbers::new(vec![0, 0]) };
            let found = search(&mut model, &spans, &limits());
            assert_eq!(matches!(found, Found::Order(_)), expected == "linearizable", "{name}: {found:?}");
            // The twin: a value that nobody wrote.
            model.ops[count / 2] = vec![(0, 999, false)];
            assert!(matches!(search(&mut model, &spans, &limits()), Found::None(_)), "{name}");
        }
    }
}

fn multi_register(text: &str) -> (Vec<Span>, Vec<Vec<Access>>) {
    let mut open: HashMap<i64, usize> = HashMap::new();
    let (mut spans, mut ops) = (Vec::new(), Vec::new());
    for (time, entry) in (0..).zip(parse_history(text)) {
        let Edn::Int(process) = *entry.get("process") else { continue };
        // What is read is known when it returns; what is written is in the invocation too.
        let steps = |entry: &Edn| -> Vec<Access> {
            let steps = entry.get("value").list().iter().filter_map(|step| {
                let [f, register, value] = step.list() else { panic!("{step:?}") };
                let register = usize::from(register.name() == "y");
                value.number().map(|value| (register, value, f.name() == "write"))
            });
            steps.collect()
        };
        match entry.get("type").name() {
            "invoke" => {
                open.insert(process, ops.len());
                spans.push(Span { invoked: time, returned: None });
                ops.push(steps(&entry));
            }
            "ok" => {
                let at = open.remove(&process).expect("an op was invoked");
                spans[at].returned = Some(time);
                ops[at] = steps(&entry);
            }
            // What failed did nothing.
            "fail" => ops[open.remove(&process).expect("an op was invoked")].clear(),
            "info" => {}
            other => panic!("{other}"),
        }
    }
    (spans, ops)
}

/// An op on a string: read, replaced or added to.
enum Text {
    Get(String),
    Put(String),
    Append(String),
}

struct Strings {
    ops: Vec<Text>,
    states: Numbers<String>,
}

impl Model for Strings {
    fn initial(&self) -> State {
        State(0)
    }

    fn step(&mut self, state: State, op: usize) -> Option<State> {
        let now = &self.states.states[state.0 as usize];
        match &self.ops[op] {
            Text::Get(seen) => (seen == now).then_some(state),
            Text::Put(text) => {
                let text = text.clone();
                Some(self.states.of(text))
            }
            Text::Append(text) => {
                let text = format!("{now}{text}");
                Some(self.states.of(text))
            }
        }
    }

    fn is_read_only(&self, op: usize) -> bool {
        matches!(self.ops[op], Text::Get(_))
    }
}

#[test]
fn strings_of_porcupine() {
    for [name, model, expected] in index("porcupine", ["file", "model", "expected"]) {
        if !model.starts_with("kv(") {
            continue;
        }
        let path = file(&format!("porcupine/{name}")).expect("the index names files that are there");
        let mut keys: HashMap<String, (Vec<Span>, Vec<Text>)> = HashMap::new();
        let mut open: HashMap<i64, (String, usize)> = HashMap::new();
        for (time, entry) in (0..).zip(parse(&text(&path))) {
            let Edn::Int(process) = *entry.get("process") else { panic!("{entry:?}") };
            let key = entry.get("key").name().to_string();
            let (spans, ops) = keys.entry(key.clone()).or_default();
            let value = |entry: &Edn| match entry.get("value") {
                Edn::Nil => String::new(),
                value @ (Edn::Int(_) | Edn::Text(_) | Edn::Keyword(_) | Edn::List(_) | Edn::Map(_)) => {
                    value.name().to_string()
                }
            };
            let op = match entry.get("f").name() {
                "get" => Text::Get(value(&entry)),
                "put" => Text::Put(value(&entry)),
                "append" => Text::Append(value(&entry)),
                other => panic!("{other}"),
            };
            if entry.get("type").name() == "invoke" {
                open.insert(process, (key, ops.len()));
                spans.push(Span { invoked: time, returned: None });
                ops.push(op);
            } else {
                let (_, at) = open.remove(&process).expect("an op was invoked");
                spans[at].returned = Some(time);
                ops[at] = op;
            }
        }
        let is_linearizable = keys.into_values().all(|(spans, ops)| {
            let mut model = Strings { ops, states: Numbers::new(String::new()) };
            match search(&mut model, &spans, &limits()) {
                Found::Order(_) => true,
                Found::None(_) => false,
                exhausted @ Found::Exhausted { .. } => panic!("{name}: {exhausted:?}"),
            }
        });
        assert_eq!(is_linearizable, expected == "linearizable", "{name}");
    }
}
