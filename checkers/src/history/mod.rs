//! The history: what clients asked and what they were answered, and when faults came and went.

pub mod op;

pub use op::{
    Answer, Call, Entry, FaultEvent, FaultStage, MicroAnswer, MicroCall, Op, OpKind, Outcome, Phase, ProcessId,
};
