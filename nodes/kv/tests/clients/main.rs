//! The clients: what they make of every kind of reply and silence, row by row; and that what they say is true whatever happens.

mod driver;
mod faults;
mod leader;
mod matching;
mod nearest;
