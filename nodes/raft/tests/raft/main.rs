//! Tests of the core from outside: claims of the paper, printed scenarios, random storms.

mod host;
mod hostile;
mod paper;
mod recovery;
mod scenario;
mod storm;
