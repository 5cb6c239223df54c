//! Pickles, read without running them.
//!
//! A pickle is a program for a small stack machine, and Python's machine calls whatever the program names. This
//! one calls nothing: a global is a row of a fixed table ([`globals`]), and a call of one is only noted down as
//! a [`Value::Call`]. What is not in the table is refused by name.
//!
//! Values live in one list and refer to each other by number ([`value`]), so that nesting, sharing and cycles
//! cost no stack, neither while they are made nor when they are dropped. Strings stay where they are in the
//! pickle: nothing that a pickle claims is allocated before its bytes are there.

use bytes::Bytes;

mod build;
mod globals;
mod input;
mod machine;
mod value;

pub(crate) use globals::{Builds, Element};
pub(crate) use value::{Id, Value, Values};

/// More than the description of any network takes; the weights themselves are not in the pickle.
pub(crate) const MAX_PICKLE: u64 = 64 << 20;
/// How many opcodes are run and items copied; with it, how many values and memo entries there can be. A network
/// of a thousand tensors takes thirty thousand.
const MAX_STEPS: u64 = 4 << 20;
/// How many values there may be: each takes more memory than the byte that makes it.
const MAX_VALUES: usize = 1 << 20;
/// How many lists, tuples and dictionaries may be open within each other.
const MAX_DEPTH: usize = 1000;
/// The longest string that is kept. No name is longer, and the cost of comparing one string many times stays bounded.
pub(crate) const MAX_STRING: usize = 512;

/// What a pickle holds, and where it ends.
#[derive(Debug)]
pub(crate) struct Pickle {
    pub(crate) values: Values,
    pub(crate) root: Id,
    /// The byte after its STOP.
    pub(crate) end: usize,
}

/// Reads the pickle that begins at byte `start`.
pub(crate) fn load(input: &Bytes, start: usize) -> Result<Pickle, Fault> {
    machine::Machine::new(input, start).run()
}

/// Why a pickle is not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes end before its STOP.
    Ended,
    /// It names something that is not in the table, or calls (`()`) what is not to be called.
    Forbidden(String),
    /// It goes beyond a limit or is not sound.
    Bad(String),
}

impl From<&str> for Fault {
    fn from(what: &str) -> Self {
        Self::Bad(what.to_owned())
    }
}
