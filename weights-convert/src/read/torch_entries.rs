//! Named values of a PyTorch file, among them its tensors, within the limits of any network.

use std::path::Path;

use super::pickle::Id;
use crate::error::{Error, Result};
use crate::shown::in_message;

/// Far more than any network has.
const MAX_ENTRIES: usize = 1 << 17;
/// Longer than the name of any tensor.
const MAX_NAME: usize = 1024;

/// What a state dict holds, or would hold: names and values.
pub(crate) struct Entries<'a> {
    path: &'a Path,
    list: Vec<(String, Id)>,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(path: &'a Path) -> Self {
        Self { path, list: Vec::new() }
    }

    /// Adds an entry, unless its name or the number of entries is beyond the limits.
    pub(crate) fn push(&mut self, name: String, value: Id) -> Result<()> {
        self.check_limits(&name, self.list.len())?;
        self.list.push((name, value));
        Ok(())
    }

    /// Whether something of this name may follow so many others.
    pub(crate) fn check_limits(&self, name: &str, before: usize) -> Result<()> {
        if name.len() > MAX_NAME {
            return Err(self.bad(name, format!("its name has {} bytes, more than {MAX_NAME}", name.len())));
        }
        if name.chars().any(char::is_control) {
            return Err(self.bad(name, "its name has control characters".into()));
        }
        if before >= MAX_ENTRIES {
            return Err(self.bad(name, format!("there are more than {MAX_ENTRIES} entries")));
        }
        Ok(())
    }

    /// The error for an entry of this name.
    pub(crate) fn bad(&self, name: &str, what: String) -> Error {
        Error::BadTensor { path: self.path.to_owned(), tensor: in_message(name), what }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Id)> {
        self.list.iter().map(|(name, value)| (name.as_str(), *value))
    }
}
