//! From a call to the commands that carry it out, and from their ends to what is recorded of the call.

use crate::mapping;
use crate::values::Layout;
use checkers::history::{Answer, Call, Outcome};
use kv::{Command, Response};
use protocol::{ClientOutcome, Done, ReplicaId};

/// A call that is being carried out: by one command, a read-modify-write by two.
#[derive(Debug, Default)]
pub struct Performing {
    /// What the first command of two was answered.
    first: Option<Answer>,
    by: Vec<ReplicaId>,
}

/// What follows the end of a command.
#[derive(Debug)]
pub enum Step {
    /// Another command.
    Command(Command),
    /// The end of the call.
    Done {
        /// What became of it.
        outcome: Outcome,
        /// The replicas whose replies that rests on, each once.
        by: Vec<ReplicaId>,
    },
}

impl Performing {
    /// Begins with a call: the first command of it.
    #[must_use]
    pub fn begin(layout: &Layout, call: &Call) -> (Self, Command) {
        (Self::default(), mapping::command(layout, call))
    }

    /// The last command of the call is over.
    #[must_use]
    pub fn answered(&mut self, layout: &Layout, call: &Call, done: Done<Response>) -> Step {
        if self.by.is_empty() {
            self.by = done.by;
        } else {
            self.by.extend(done.by);
            self.by.sort_unstable();
            self.by.dedup();
        }
        let outcome = match (done.outcome, self.first.take()) {
            (ClientOutcome::Answered(Response::TooLarge), _) => {
                Outcome::Fail("the answer would be too large".to_owned())
            }
            (ClientOutcome::Answered(response), None) => {
                let answer = mapping::answer(layout, call, response);
                if let Some(command) = mapping::follow_up(layout, call) {
                    self.first = Some(answer);
                    return Step::Command(command);
                }
                Outcome::Ok(answer)
            }
            (ClientOutcome::Answered(Response::Done), Some(answer)) => Outcome::Ok(answer),
            (ClientOutcome::Answered(other), Some(_)) => Outcome::Ok(Answer::Corrupt(format!(
                "the write of a read-modify-write was answered with {other:?}"
            ))),
            (ClientOutcome::Failed(why), _) => Outcome::Fail(why),
            (ClientOutcome::Unknown(why), _) => Outcome::Info(why),
        };
        Step::Done { outcome, by: std::mem::take(&mut self.by) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Names;
    use kv::Value;

    const USERS: Layout = Layout { names: Names::Users, value_bytes: 16, fields: 1 };
    const MODIFY: Call = Call::ReadModifyWrite { key: 1, field: 0, value: 7 };
    const ONE: ReplicaId = ReplicaId(1);
    const TWO: ReplicaId = ReplicaId(2);

    fn ended(
        performing: &mut Performing,
        call: &Call,
        outcome: ClientOutcome<Response>,
        by: ReplicaId,
    ) -> Step {
        performing.answered(&USERS, call, Done { outcome, by: vec![by] })
    }

    fn over(step: Step) -> (Outcome, Vec<ReplicaId>) {
        match step {
            Step::Done { outcome, by } => (outcome, by),
            Step::Command(command) => panic!("{command:?} follows"),
        }
    }

    /// A read-modify-write whose read was answered, by replica 2.
    fn half_done() -> Performing {
        let (mut performing, read) = Performing::begin(&USERS, &MODIFY);
        assert_eq!(read, Command::Read { key: USERS.key(1) });
        let absent = ClientOutcome::Answered(Response::Value(None));
        let Step::Command(Command::Update { key, .. }) = ended(&mut performing, &MODIFY, absent, TWO) else {
            panic!("no write follows")
        };
        assert_eq!(key, USERS.key(1));
        performing
    }

    #[test]
    fn one_command_carries_out_most_calls() {
        let read = Call::ReadRecord { key: 1 };
        for (end, expected) in [
            (ClientOutcome::Answered(Response::Value(None)), Outcome::Ok(Answer::Fields(None))),
            (ClientOutcome::Failed("busy".into()), Outcome::Fail("busy".into())),
            (ClientOutcome::Unknown("silence".into()), Outcome::Info("silence".into())),
            (
                ClientOutcome::Answered(Response::TooLarge),
                Outcome::Fail("the answer would be too large".into()),
            ),
        ] {
            let (mut performing, _) = Performing::begin(&USERS, &read);
            let performed = over(ended(&mut performing, &read, end, ONE));
            assert_eq!(performed, (expected, vec![ONE]));
        }
    }

    #[test]
    fn a_read_modify_write_answers_what_it_read_when_it_has_written() {
        for (end, expected) in [
            (ClientOutcome::Answered(Response::Done), Outcome::Ok(Answer::Fields(None))),
            (ClientOutcome::Failed("busy".into()), Outcome::Fail("busy".into())),
            (ClientOutcome::Unknown("silence".into()), Outcome::Info("silence".into())),
        ] {
            let performed = over(ended(&mut half_done(), &MODIFY, end, ONE));
            assert_eq!(performed, (expected, vec![ONE, TWO]), "both replies count");
        }
        let strange = ClientOutcome::Answered(Response::Value(Some(Value::Bytes("x".into()))));
        let (outcome, by) = over(ended(&mut half_done(), &MODIFY, strange, TWO));
        assert!(matches!(outcome, Outcome::Ok(Answer::Corrupt(_))) && by == [TWO]);
    }
}
