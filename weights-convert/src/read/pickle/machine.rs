//! The stack machine: the opcodes that PyTorch's pickles use, of protocols 2 to 5.

use std::collections::HashMap;

use bytes::Bytes;

use super::globals::{self, Builds, Global};
use super::input::Input;
use super::value::{Id, Value, Values};
use super::{Fault, MAX_DEPTH, MAX_STRING, Pickle, build};
use crate::shown::in_message;

type Step<T = ()> = Result<T, Fault>;

pub(super) struct Machine<'a> {
    input: Input<'a>,
    stack: Vec<Id>,
    /// How high the stack was at each open mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// The name by which the pickle asked for `getattr`, where it did.
    attribute: Option<String>,
    values: Values,
}

impl<'a> Machine<'a> {
    pub(super) fn new(input: &'a Bytes, start: usize) -> Self {
        let values = Values::new(input.clone());
        Self {
            input: Input::new(input, start),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            attribute: None,
            values,
        }
    }

    pub(super) fn run(mut self) -> Step<Pickle> {
        loop {
            let opcode_at = self.input.at();
            match self.step() {
                Ok(None) => {}
                Ok(Some(root)) => return Ok(Pickle { values: self.values, root, end: self.input.at() }),
                Err(Fault::Bad(what)) => return Err(Fault::Bad(format!("byte {opcode_at} of its pickle: {what}"))),
                Err(other) => return Err(other),
            }
        }
    }

    /// Runs one opcode. The last one returns the root.
    fn step(&mut self) -> Step<Option<Id>> {
        self.values.spend(1)?;
        match self.input.byte()? {
            // PROTO and FRAME
            0x80 => {
                let protocol = self.input.byte()?;
                if !(2..=5).contains(&protocol) {
                    return Err(format!("protocol {protocol}, where PyTorch writes 2 to 5").as_str().into());
                }
            }
            0x95 => {
                let len = self.input.u64()?;
                self.input.ahead(len)?;
            }
            // STOP, MARK, POP, POP_MARK, DUP
            b'.' => return self.stop().map(Some),
            b'(' => self.mark()?,
            b'0' => {
                if self.stack.len() > self.floor() {
                    self.pop()?;
                } else {
                    self.since_mark()?;
                }
            }
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            // NONE, NEWTRUE, NEWFALSE, BINFLOAT
            b'N' => self.push(Value::None)?,
            0x88 | 0x89 => self.push(Value::Plain("a boolean"))?,
            b'G' => {
                self.input.take(8)?;
                self.push(Value::Plain("a float"))?;
            }
            // BININT, BININT1, BININT2, LONG1, LONG4
            b'J' => {
                let int = i32::from_le_bytes(self.input.array()?);
                self.push(Value::Int(int.into()))?;
            }
            b'K' => {
                let int = self.input.byte()?;
                self.push(Value::Int(int.into()))?;
            }
            b'M' => {
                let int = u16::from_le_bytes(self.input.array()?);
                self.push(Value::Int(int.into()))?;
            }
            0x8a => {
                let len = self.input.byte()?;
                self.long(len.into())?;
            }
            0x8b => {
                let len = u64::try_from(i32::from_le_bytes(self.input.array()?))
                    .map_err(|_| "an integer of negative length")?;
                self.long(len)?;
            }
            // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
            0x8c => {
                let len = self.input.byte()?;
                self.text(len.into())?;
            }
            b'X' => {
                let len = self.input.u32()?;
                self.text(len.into())?;
            }
            0x8d => {
                let len = self.input.u64()?;
                self.text(len)?;
            }
            // SHORT_BINSTRING, BINSTRING: the strings of Python 2, text or not
            b'U' => {
                let len = self.input.byte()?;
                self.string(len.into())?;
            }
            b'T' => {
                let len = u64::try_from(i32::from_le_bytes(self.input.array()?))
                    .map_err(|_| "a string of negative length")?;
                self.string(len)?;
            }
            // SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8
            b'C' => {
                let len = self.input.byte()?;
                self.raw(len.into())?;
            }
            b'B' => {
                let len = self.input.u32()?;
                self.raw(len.into())?;
            }
            0x8e | 0x96 => {
                let len = self.input.u64()?;
                self.raw(len)?;
            }
            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
            b')' => self.push(Value::Tuple(Vec::new()))?,
            op @ 0x85..=0x87 => {
                let mut items = (0x85..=op).map(|_| self.pop()).collect::<Step<Vec<_>>>()?;
                items.reverse();
                self.push(Value::Tuple(items))?;
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::Tuple(items))?;
            }
            // EMPTY_LIST, APPEND, APPENDS
            b']' => self.push(Value::List(Vec::new()))?,
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.extend(items)?;
            }
            // EMPTY_SET, ADDITEMS, FROZENSET
            0x8f => self.push(Value::Set(Vec::new()))?,
            0x90 => {
                let items = self.since_mark()?;
                self.extend(items)?;
            }
            0x91 => {
                let items = self.since_mark()?;
                self.push(Value::Set(items))?;
            }
            // EMPTY_DICT, SETITEM, SETITEMS
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set(&items)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => {
                let number = self.input.byte()?;
                self.remember(number.into())?;
            }
            b'r' => {
                let number = self.input.u32()?;
                self.remember(number)?;
            }
            0x94 => self.remember(u32::try_from(self.memo.len()).map_err(|_| "its memo is too large")?)?,
            b'h' => {
                let number = self.input.byte()?;
                self.recall(number.into())?;
            }
            b'j' => {
                let number = self.input.u32()?;
                self.recall(number)?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                let global = find(module, name, &mut self.attribute)?;
                self.push(Value::Global(global))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let names = self.values.str(module).zip(self.values.str(name));
                let (module, name) = names.ok_or("a global whose name is no string")?;
                let global = find(module, name, &mut self.attribute)?;
                self.push(Value::Global(global))?;
            }
            // REDUCE, NEWOBJ, NEWOBJ_EX, BUILD
            b'R' => {
                let (args, callable) = (self.pop()?, self.pop()?);
                let value = build::reduce(&mut self.values, callable, args)?;
                self.stack.push(value);
            }
            0x81 => {
                let (args, class) = (self.pop()?, self.pop()?);
                let value = build::instance(&mut self.values, class, args)?;
                self.stack.push(value);
            }
            0x92 => {
                let (_keywords, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                let value = build::instance(&mut self.values, class, args)?;
                self.stack.push(value);
            }
            b'b' => {
                let (state, object) = (self.pop()?, self.top()?);
                build::set_state(&mut self.values, object, state)?;
            }
            // BINPERSID
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))?;
            }
            other => return Err(format!("opcode {other:#04x}, which PyTorch does not write").as_str().into()),
        }
        Ok(None)
    }

    // ---- the stack ----

    /// The height of the stack at the last mark. Values below it belong to outer containers.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn push(&mut self, value: Value) -> Step {
        let id = self.values.add(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Step<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn top(&self) -> Step<Id> {
        let own = self.stack.get(self.floor()..).unwrap_or_default();
        own.last().copied().ok_or_else(|| "it takes from an empty stack".into())
    }

    fn mark(&mut self) -> Step {
        if self.marks.len() >= MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} values within each other").as_str().into());
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// What was pushed since the last mark.
    fn since_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or("it looks for a mark where there is none")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn stop(&mut self) -> Step<Id> {
        if !self.marks.is_empty() {
            return Err("it stops within a list or dictionary".into());
        }
        let root = self.pop()?;
        if !self.stack.is_empty() {
            return Err("it stops with values left over".into());
        }
        self.attributes_were_taken()?;
        Ok(root)
    }

    /// `getattr` is allowed for one use only: a pickle that names it and never uses it so is refused.
    fn attributes_were_taken(&self) -> Step {
        let taken =
            |value: &Value| matches!(value, Value::Call { global, .. } if matches!(global.builds, Builds::Attribute));
        match &self.attribute {
            Some(name) if !self.values.iter().any(|(_, value)| taken(value)) => Err(Fault::Forbidden(name.clone())),
            _ => Ok(()),
        }
    }

    // ---- values ----

    fn long(&mut self, len: u64) -> Step {
        let range = self.input.take(len)?;
        let bytes = self.input.slice(&range);
        let value = if bytes.len() > 8 {
            Value::Long(Values::span(&range)?)
        } else {
            // Two's complement of as few bytes as it takes: the sign goes on to the left.
            let fill = if bytes.last().is_some_and(|&b| b >= 0x80) { 0xff } else { 0 };
            let mut whole = [fill; 8];
            whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            Value::Int(i64::from_le_bytes(whole))
        };
        self.push(value)
    }

    fn text(&mut self, len: u64) -> Step {
        let range = self.input.take(len)?;
        if range.len() > MAX_STRING {
            return self.push(Value::Plain("a long string"));
        }
        if std::str::from_utf8(self.input.slice(&range)).is_err() {
            return Err("a string that is no UTF-8".into());
        }
        self.push(Value::Str(Values::span(&range)?))
    }

    fn string(&mut self, len: u64) -> Step {
        let range = self.input.take(len)?;
        let bytes = self.input.slice(&range);
        let text = bytes.len() <= MAX_STRING && std::str::from_utf8(bytes).is_ok();
        self.push(if text { Value::Str(Values::span(&range)?) } else { Value::Plain("bytes") })
    }

    fn raw(&mut self, len: u64) -> Step {
        self.input.take(len)?;
        self.push(Value::Plain("bytes"))
    }

    fn extend(&mut self, items: Vec<Id>) -> Step {
        let into = self.top()?;
        match self.values.get_mut(into) {
            Some(Value::List(list) | Value::Set(list)) => list.extend(items),
            _ => return Err("it appends to what is no list".into()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Step {
        let into = self.top()?;
        let (pairs, []) = items.as_chunks() else {
            return Err("a key without a value".into());
        };
        match self.values.get_mut(into) {
            Some(Value::Dict(dict)) => dict.extend(pairs.iter().map(|[key, value]| (*key, *value))),
            _ => return Err("it sets an item of what is no dictionary".into()),
        }
        Ok(())
    }

    fn remember(&mut self, number: u32) -> Step {
        let top = self.top()?;
        self.memo.insert(number, top);
        Ok(())
    }

    fn recall(&mut self, number: u32) -> Step {
        let id = self.memo.get(&number).copied();
        self.stack.push(id.ok_or_else(|| Fault::Bad(format!("value {number} of its memo, which it never put there")))?);
        Ok(())
    }
}

/// The row of a global. A name of `getattr` is recorded.
fn find(module: &str, name: &str, attribute: &mut Option<String>) -> Step<&'static Global> {
    let shown = || in_message(&format!("{module}.{name}"));
    let global = globals::find(module, name).ok_or_else(|| Fault::Forbidden(shown()))?;
    if matches!(global.builds, Builds::Attribute) {
        *attribute = Some(shown());
    }
    Ok(global)
}
