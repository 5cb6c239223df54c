//! The bytes of a pickle, taken from the front. A length is checked against the bytes that are left before it is used.

use std::ops::Range;

use bytes::Bytes;

use super::{Fault, MAX_STRING};

pub(super) struct Input<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a Bytes, at: usize) -> Self {
        Self { bytes, at }
    }

    /// The position of the next byte.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The range of the next `len` bytes, if they are there.
    pub(super) fn ahead(&self, len: u64) -> Result<Range<usize>, Fault> {
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        Ok(self.at..end.filter(|&end| end <= self.bytes.len()).ok_or(Fault::Ended)?)
    }

    /// Takes the next `len` bytes.
    pub(super) fn take(&mut self, len: u64) -> Result<Range<usize>, Fault> {
        let range = self.ahead(len)?;
        self.at = range.end;
        Ok(range)
    }

    /// The bytes of a range that was taken.
    pub(super) fn slice(&self, range: &Range<usize>) -> &'a [u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let range = self.take(N as u64)?;
        self.slice(&range).try_into().map_err(|_| Fault::Ended)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    /// A line, without its end.
    pub(super) fn line(&mut self) -> Result<&'a str, Fault> {
        let left = self.bytes.get(self.at..).unwrap_or_default();
        let window = left.get(..MAX_STRING).unwrap_or(left);
        let Some(len) = window.iter().position(|&b| b == b'\n') else {
            return Err(if window.len() < MAX_STRING { Fault::Ended } else { "a global with an endless name".into() });
        };
        self.at = self.at.saturating_add(len).saturating_add(1);
        std::str::from_utf8(window.get(..len).unwrap_or_default()).map_err(|_| "a global whose name is no text".into())
    }
}
