//! The values of a pickle: a list, in which they refer to each other by number.

use std::ops::Range;

use bytes::Bytes;

use super::globals::{Builds, Global};
use super::{Fault, MAX_STEPS, MAX_VALUES};

/// The number of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(u32);

/// Where a string stands in the pickle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

/// What a pickle makes.
#[derive(Debug)]
pub(crate) enum Value {
    None,
    /// A value that no tensor depends on. Only its kind is kept.
    Plain(&'static str),
    Int(i64),
    /// An integer of more than 64 bits, as little-endian bytes.
    Long(Span),
    /// Valid UTF-8 of at most [`super::MAX_STRING`] bytes.
    Str(Span),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Set(Vec<Id>),
    /// In the order of insertion, keys that are set twice included.
    Dict(Vec<(Id, Id)>),
    Global(&'static Global),
    /// What is kept outside of the pickle, by the value that says what it is.
    Persistent(Id),
    /// A call that was not made, and the state that the result would have been given.
    Call {
        global: &'static Global,
        args: Id,
        state: Option<Id>,
    },
}

/// The values of one pickle.
#[derive(Debug)]
pub(crate) struct Values {
    input: Bytes,
    list: Vec<Value>,
    /// The work that making them has taken so far.
    steps: u64,
}

impl Values {
    pub(super) fn new(input: Bytes) -> Self {
        Self { input, list: Vec::new(), steps: 0 }
    }

    /// Counts the work of making values, so that no pickle keeps the machine busy or fills the memory.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), Fault> {
        self.steps = self.steps.saturating_add(steps as u64);
        if self.steps > MAX_STEPS { Err(Fault::Bad(format!("more than {MAX_STEPS} steps"))) } else { Ok(()) }
    }

    pub(super) fn add(&mut self, value: Value) -> Result<Id, Fault> {
        let id = u32::try_from(self.list.len()).ok().filter(|_| self.list.len() < MAX_VALUES);
        let id = id.ok_or_else(|| Fault::Bad(format!("more than {MAX_VALUES} values")))?;
        self.list.push(value);
        Ok(Id(id))
    }

    /// The place of a range of the input; what is beyond 4 GB has none.
    pub(super) fn span(range: &Range<usize>) -> Result<Span, Fault> {
        let at = |at: usize| u32::try_from(at).map_err(|_| Fault::from("it is too long"));
        Ok(Span { start: at(range.start)?, end: at(range.end)? })
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Value> {
        self.list.get_mut(id.0 as usize)
    }

    pub(crate) fn get(&self, id: Id) -> &Value {
        // An id is only made by `add`, so it is always there.
        self.list.get(id.0 as usize).unwrap_or(&Value::None)
    }

    /// All values with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &Value)> {
        (0..).map(Id).zip(&self.list)
    }

    pub(crate) fn bytes(&self, span: Span) -> &[u8] {
        self.input.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    pub(crate) fn str(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Str(span) => std::str::from_utf8(self.bytes(*span)).ok(),
            _ => None,
        }
    }

    pub(crate) fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            Value::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub(crate) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The value of a string key; the last one, as in Python, where it was set twice.
    pub(crate) fn entry(&self, pairs: &[(Id, Id)], key: &str) -> Option<Id> {
        pairs.iter().rev().find(|(k, _)| self.str(*k) == Some(key)).map(|(_, value)| *value)
    }

    /// What a value is, for a message.
    pub(crate) fn kind(&self, id: Id) -> String {
        match self.get(id) {
            Value::None => "None".into(),
            Value::Plain(kind) => (*kind).into(),
            Value::Int(_) | Value::Long(_) => "an integer".into(),
            Value::Str(_) => "a string".into(),
            Value::Tuple(_) => "a tuple".into(),
            Value::List(_) => "a list".into(),
            Value::Set(_) => "a set".into(),
            Value::Dict(_) => "a dictionary".into(),
            Value::Global(global) => format!("`{global}`"),
            Value::Persistent(_) => "a storage".into(),
            Value::Call { global, .. } => match global.builds {
                Builds::Tensor { .. } | Builds::Retyped => "a tensor".into(),
                Builds::Parameter => "a parameter".into(),
                Builds::Unread(kind) => kind.into(),
                Builds::Module => "a pickled module".into(),
                _ => format!("a `{global}`"),
            },
        }
    }
}
