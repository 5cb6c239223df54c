//! The weights of a whole network that was pickled: what its `state_dict()` would say, without its code.

use std::collections::BTreeSet;

use super::pickle::{Builds, Id, Value};
use super::torch_state::Finder;
use crate::{Error, Result};

/// How deep modules may lie within each other.
const MAX_MODULES: usize = 64;
/// How many parts of modules are looked at: a file may name one module many times.
const MAX_PARTS: usize = 1 << 22;

impl Finder<'_> {
    /// The parameters and persistent buffers of a module and of the modules in it.
    pub(crate) fn module(&self, root: Id) -> Result<Vec<(String, Id)>> {
        let mut entries = Vec::new();
        let mut open = vec![(String::new(), root, 0)];
        let mut parts = 0usize;
        while let Some((prefix, module, depth)) = open.pop() {
            let Value::Call { global, state: Some(state), .. } = self.values.get(module) else {
                return Err(self.bad(&prefix, "a module without a state".into()));
            };
            if !matches!(global.builds, Builds::Module) {
                return Err(self.bad(&prefix, format!("{} and no module", self.values.kind(module))));
            }
            let state = self.values.dict(*state).unwrap_or_default();
            let part = |name| self.values.entry(state, name).and_then(|id| self.values.dict(id)).unwrap_or_default();
            let (parameters, buffers, modules) = (part("_parameters"), part("_buffers"), part("_modules"));
            let hidden = match self.values.entry(state, "_non_persistent_buffers_set").map(|id| self.values.get(id)) {
                Some(Value::Set(names)) => names.as_slice(),
                _ => &[],
            };
            let sizes = [1, state.len(), parameters.len(), buffers.len(), modules.len(), hidden.len()];
            parts = sizes.iter().fold(parts, |parts, size| parts.saturating_add(*size));
            if depth > MAX_MODULES || parts > MAX_PARTS {
                return Err(self.bad(&prefix, "too many modules within each other".into()));
            }
            let hidden: BTreeSet<&str> = hidden.iter().filter_map(|id| self.values.str(*id)).collect();
            let named = |(key, value): &(Id, Id)| {
                let name = self.values.str(*key).ok_or_else(|| self.bad(&prefix, "a part without a name".into()))?;
                Ok::<_, Error>((name, *value))
            };
            let there = |(_, value): &&(Id, Id)| !matches!(self.values.get(*value), Value::None);
            for (name, value) in parameters.iter().filter(there).map(named).collect::<Result<Vec<_>>>()? {
                self.enter(&mut entries, format!("{prefix}{name}"), value)?;
            }
            for (name, value) in buffers.iter().filter(there).map(named).collect::<Result<Vec<_>>>()? {
                if !hidden.contains(name) {
                    self.enter(&mut entries, format!("{prefix}{name}"), value)?;
                }
            }
            for (name, inner) in modules.iter().filter(there).map(named).collect::<Result<Vec<_>>>()? {
                let prefix = format!("{prefix}{name}.");
                self.limit(&prefix, open.len())?;
                open.push((prefix, inner, depth + 1));
            }
        }
        Ok(entries)
    }
}
