//! What the simulation wakes up for, as the numbers that the cluster keeps.

use protocol::NodeId;

/// A reason to wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// A worker asks something.
    Ask { slot: u32 },
    /// A client core wanted to be woken.
    Wake { slot: u32 },
    /// The nemesis has something to do.
    Nemesis,
    /// A doomed node that lives still is killed.
    Doom { node: NodeId },
    /// A node that died of a doom in its recovery is started again.
    Restart { node: NodeId },
    /// What replicas say of themselves is taken down.
    Look,
}

impl Alarm {
    pub(crate) fn number(self) -> u64 {
        let (kind, argument) = match self {
            Alarm::Ask { slot } => (0, slot),
            Alarm::Wake { slot } => (1, slot),
            Alarm::Nemesis => (2, 0),
            Alarm::Doom { node } => (3, node.0),
            Alarm::Restart { node } => (4, node.0),
            Alarm::Look => (5, 0),
        };
        kind << 32 | u64::from(argument)
    }

    pub(crate) fn of(number: u64) -> Self {
        let argument = number as u32;
        match number >> 32 {
            0 => Alarm::Ask { slot: argument },
            1 => Alarm::Wake { slot: argument },
            2 => Alarm::Nemesis,
            3 => Alarm::Doom { node: NodeId(argument) },
            4 => Alarm::Restart { node: NodeId(argument) },
            5 => Alarm::Look,
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
            Alarm::Nemesis,
            Alarm::Doom { node: NodeId(9) },
            Alarm::Restart { node: NodeId(2) },
            Alarm::Look,
        ] {
            assert_eq!(Alarm::of(alarm.number()), alarm);
        }
    }
}
