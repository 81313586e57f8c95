//! What the simulation wakes up for, as the numbers that the cluster keeps.

use protocol::NodeId;

/// A reason to wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// A worker asks something.
    Ask { slot: u32 },
    /// A client core wanted to be woken.
    Wake { slot: u32 },
    /// A fault of the schedule begins.
    Begin { fault: u32 },
    /// A fault ends.
    End { fault: u32 },
    /// A clock jumps.
    Strobe { fault: u32 },
    /// A doomed node that lives still is killed.
    Doom { fault: u32 },
    /// A node that died of a doom in its recovery is started again.
    Restart { node: NodeId },
    /// What replicas say of themselves is taken down.
    Look,
    /// The operator looks after what it wants.
    Operate,
}

impl Alarm {
    pub(crate) fn number(self) -> u64 {
        let (kind, argument) = match self {
            Alarm::Ask { slot } => (0, slot),
            Alarm::Wake { slot } => (1, slot),
            Alarm::Begin { fault } => (2, fault),
            Alarm::End { fault } => (3, fault),
            Alarm::Strobe { fault } => (4, fault),
            Alarm::Doom { fault } => (5, fault),
            Alarm::Restart { node } => (6, node.0),
            Alarm::Look => (7, 0),
            Alarm::Operate => (8, 0),
        };
        kind << 32 | u64::from(argument)
    }

    pub(crate) fn of(number: u64) -> Self {
        let argument = number as u32;
        match number >> 32 {
            0 => Alarm::Ask { slot: argument },
            1 => Alarm::Wake { slot: argument },
            2 => Alarm::Begin { fault: argument },
            3 => Alarm::End { fault: argument },
            4 => Alarm::Strobe { fault: argument },
            5 => Alarm::Doom { fault: argument },
            6 => Alarm::Restart { node: NodeId(argument) },
            7 => Alarm::Look,
            8 => Alarm::Operate,
            other => unreachable!("no alarm has kind {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_comes_back_as_it_was_set() {
        for alarm in [
            Alarm::Ask { slot: 3 },
            Alarm::Wake { slot: u32::MAX },
            Alarm::Begin { fault: 0 },
            Alarm::End { fault: 7 },
            Alarm::Strobe { fault: 8 },
            Alarm::Doom { fault: 9 },
            Alarm::Restart { node: NodeId(2) },
            Alarm::Look,
            Alarm::Operate,
        ] {
            assert_eq!(Alarm::of(alarm.number()), alarm);
        }
    }
}
