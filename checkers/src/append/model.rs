//! A list for the general search: transactions on it, each at one instant.

use super::lists::steps_on;
use crate::history::{History, MicroAnswer, MicroCall};
use crate::linearizability::wgl::{Model, State};
use rustc_hash::FxHashMap;

/// What a transaction did to the list, in order.
enum Step {
    /// The list was this.
    Read(State),
    Append(u64),
}

/// Lists are numbered as nodes of a tree: the empty list is its root, and each element leads to a child.
pub(super) struct ListModel {
    ops: Vec<Vec<Step>>,
    children: FxHashMap<(State, u64), State>,
    /// Of each list but the empty one: the list without its last element, and that element.
    parents: Vec<(State, u64)>,
    initial: State,
}

const EMPTY: State = State(0);

impl ListModel {
    /// Transactions (positions in the history's ops) on one list, which first holds `initial`.
    pub(super) fn new(history: &History, key: u64, ops: &[u32], initial: &[u64]) -> Self {
        let mut model =
            Self { ops: Vec::new(), children: FxHashMap::default(), parents: Vec::new(), initial: EMPTY };
        model.initial = model.list(initial);
        for op in ops {
            let mut steps = Vec::new();
            for (step, answer) in steps_on(&history.ops[*op as usize], key) {
                match (step, answer) {
                    (MicroCall::Append { value, .. }, _) => steps.push(Step::Append(*value)),
                    (MicroCall::ReadList { .. }, Some(MicroAnswer::List(list))) => {
                        steps.push(Step::Read(model.list(list)));
                    }
                    (MicroCall::ReadList { .. } | MicroCall::Read { .. } | MicroCall::Write { .. }, _) => {}
                }
            }
            model.ops.push(steps);
        }
        model
    }

    fn child(&mut self, list: State, element: u64) -> State {
        *self.children.entry((list, element)).or_insert_with(|| {
            self.parents.push((list, element));
            State(self.parents.len() as u32)
        })
    }

    /// The elements of a list.
    pub(super) fn elements(&self, list: State) -> Vec<u64> {
        let mut elements = Vec::new();
        let mut at = list;
        while at != EMPTY {
            let (parent, element) = self.parents[at.0 as usize - 1];
            elements.push(element);
            at = parent;
        }
        elements.reverse();
        elements
    }

    fn list(&mut self, elements: &[u64]) -> State {
        elements.iter().fold(EMPTY, |list, element| self.child(list, *element))
    }
}

impl Model for ListModel {
    fn initial(&self) -> State {
        self.initial
    }

    fn step(&mut self, mut state: State, op: usize) -> Option<State> {
        for at in 0..self.ops[op].len() {
            match self.ops[op][at] {
                Step::Read(list) if list == state => {}
                Step::Read(_) => return None,
                Step::Append(element) => state = self.child(state, element),
            }
        }
        Some(state)
    }

    fn is_read_only(&self, op: usize) -> bool {
        !self.ops[op].iter().any(|step| matches!(step, Step::Append(_)))
    }
}
