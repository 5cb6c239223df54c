//! The weights of a whole network that was pickled: what its `state_dict()` would return, found without its code.

use std::collections::BTreeSet;
use std::path::Path;

use super::pickle::{Builds, Id, Value, Values};
use super::torch_entries::Entries;
use crate::error::Result;

/// How deep modules may be nested.
const MAX_MODULES: usize = 64;
/// How many parts of modules are looked at: a file may name one module many times.
const MAX_PARTS: usize = 1 << 22;

/// Whether a value is a pickled module.
pub(crate) fn is_module(values: &Values, id: Id) -> bool {
    matches!(values.get(id), Value::Call { global, .. } if matches!(global.builds, Builds::Module))
}

/// The parameters and persistent buffers of a module and of the modules in it.
pub(crate) fn entries<'a>(path: &'a Path, values: &Values, root: Id) -> Result<Entries<'a>> {
    let mut entries = Entries::new(path);
    let mut open = vec![(String::new(), root, 0)];
    let mut parts = 0usize;
    while let Some((prefix, module, depth)) = open.pop() {
        let Value::Call { state: Some(state), .. } = values.get(module) else {
            return Err(entries.bad(&prefix, "a module without a state".into()));
        };
        if !is_module(values, module) {
            return Err(entries.bad(&prefix, format!("{} and no module", values.kind(module))));
        }
        let state = values.dict(*state).unwrap_or_default();
        let part = |name| values.entry(state, name).and_then(|id| values.dict(id)).unwrap_or_default();
        let (parameters, buffers, modules) = (part("_parameters"), part("_buffers"), part("_modules"));
        let hidden = match values.entry(state, "_non_persistent_buffers_set").map(|id| values.get(id)) {
            Some(Value::Set(names)) => names.as_slice(),
            _ => &[],
        };
        let sizes = [1, state.len(), parameters.len(), buffers.len(), modules.len(), hidden.len()];
        parts = sizes.iter().fold(parts, |parts, size| parts.saturating_add(*size));
        if depth > MAX_MODULES || parts > MAX_PARTS {
            return Err(entries.bad(&prefix, "too many modules within each other".into()));
        }
        let hidden: BTreeSet<&str> = hidden.iter().filter_map(|id| values.str(*id)).collect();
        for (name, value) in named(&entries, values, &prefix, parameters)? {
            entries.push(format!("{prefix}{name}"), value)?;
        }
        for (name, value) in named(&entries, values, &prefix, buffers)? {
            if !hidden.contains(name) {
                entries.push(format!("{prefix}{name}"), value)?;
            }
        }
        for (name, inner) in named(&entries, values, &prefix, modules)? {
            let prefix = format!("{prefix}{name}.");
            entries.check_limits(&prefix, open.len())?;
            open.push((prefix, inner, depth + 1));
        }
    }
    Ok(entries)
}

/// The parts of a module that are set, with their names.
fn named<'v>(entries: &Entries, values: &'v Values, prefix: &str, parts: &'v [(Id, Id)]) -> Result<Vec<(&'v str, Id)>> {
    let is_set = |(_, value): &&(Id, Id)| !matches!(values.get(*value), Value::None);
    let unnamed = || entries.bad(prefix, "a part without a name".into());
    let named = |(key, value): &'v (Id, Id)| Ok((values.str(*key).ok_or_else(unnamed)?, *value));
    parts.iter().filter(is_set).map(named).collect()
}
