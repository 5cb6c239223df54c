//! Which of a PyTorch file's values are the weights.

use std::collections::BTreeMap;
use std::path::Path;

use super::pickle::{Builds, Id, Pickle, Value, Values};
use super::torch_entries::Entries;
use super::torch_module;
use crate::decision::Decision;
use crate::error::{Error, Result};
use crate::shown::in_message;

/// The keys under which training programs keep the weights, and who uses them. The first one that a file has is taken.
/// Averaged weights come last: where a file has both, published results are those of the plain weights unless their
/// authors say otherwise.
const WRAPPERS: &[(&str, &str)] = &[
    ("state_dict", "jfzhang95, mmsegmentation, Lightning and timm keep the weights"),
    ("model_state_dict", "PyTorch's tutorials keep the weights"),
    ("model_state", "VainF keeps the weights"),
    ("model", "torchvision's training scripts keep the weights"),
    ("module", "DeepSpeed keeps the weights"),
    ("net", "training scripts keep the weights"),
    ("network", "training scripts keep the weights"),
    ("weights", "training scripts keep the weights"),
    ("params", "BasicSR keeps the weights"),
    ("state_dict_ema", "timm keeps the averaged weights"),
    ("model_ema", "torchvision's training scripts keep the averaged weights"),
    ("ema_state_dict", "training scripts keep the averaged weights"),
    ("params_ema", "BasicSR keeps the averaged weights"),
    ("ema", "training scripts keep the averaged weights"),
];
/// How many states a message names.
const MAX_STATES: usize = 16;
/// How deep wrappers may be nested.
const MAX_WRAPPERS: usize = 8;
/// The prefixes that wrappers around a network put before every name, and which wrappers do.
const PREFIXES: &[(&str, &str)] = &[
    ("module.", "`DataParallel` and averaged models write them"),
    ("_orig_mod.", "`torch.compile` writes them"),
    ("model.", "Lightning modules write them"),
    ("net.", "Lightning modules write them"),
    ("network.", "Lightning modules write them"),
];
/// What wrappers keep beside the network: how often an average was updated (PyTorch's and mmengine's), the pixels' mean and
/// deviation (smp's example of a Lightning module), and losses.
const BESIDE: &[&str] = &["n_averaged", "steps", "mean", "std", "criterion.", "loss.", "loss_fn."];

/// A call that makes a tensor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TensorCall {
    pub(crate) args: Id,
    /// Whether the element type is an argument.
    pub(crate) typed: bool,
}

/// The tensors of a state dict, and how it was found.
#[derive(Debug)]
pub(crate) struct StateDict {
    pub(crate) tensors: BTreeMap<String, TensorCall>,
    pub(crate) decisions: Vec<Decision>,
}

/// What a value of a state dict is.
enum Leaf {
    Tensor(TensorCall),
    Unread(String),
    Other,
}

/// Finds the state dict; `state` is the name of the one that is wanted, where somebody said so.
pub(crate) fn find(path: &Path, pickle: &Pickle, state: Option<&str>) -> Result<StateDict> {
    let finder = Finder { path, values: &pickle.values };
    let mut decisions = Vec::new();
    let (mut at, mut wanted, mut seen) = (pickle.root, state, Vec::new());
    for _ in 0..MAX_WRAPPERS {
        match finder.unwrap(at, &mut wanted, &mut seen)? {
            Some((inner, decision)) => {
                decisions.push(decision);
                at = inner;
            }
            None => break,
        }
    }
    if let Some(state) = wanted {
        return Err(Error::NoSuchState { path: path.to_owned(), state: state.to_owned(), states: seen });
    }
    let entries = if torch_module::is_module(finder.values, at) {
        decisions.push(Decision {
            what: "weights",
            value: "parameters and buffers of a whole network".into(),
            because: "the file is a pickled module; its code was not read".into(),
        });
        torch_module::entries(path, finder.values, at)?
    } else {
        finder.dict(at)?
    };
    let mut tensors = finder.tensors(&entries, &mut decisions)?;
    if tensors.is_empty() {
        return Err(finder.none(pickle.root));
    }
    for _ in 0..MAX_WRAPPERS {
        let Some((prefix, who)) = PREFIXES.iter().find(|(prefix, _)| all_begin_with(&tensors, prefix)) else { break };
        let bare = |(name, call): (String, _)| (name.strip_prefix(prefix).map_or(name.clone(), str::to_owned), call);
        tensors = tensors.into_iter().map(bare).collect();
        let because = format!("every name has it, as {who}");
        decisions.push(Decision { what: "prefix", value: format!("`{prefix}` taken off"), because });
    }
    Ok(StateDict { tensors, decisions })
}

/// Whether every name has the prefix, except for what wrappers keep beside a network, and no two names would be equal
/// without it.
fn all_begin_with(tensors: &BTreeMap<String, TensorCall>, prefix: &str) -> bool {
    let beside = |name: &str| BESIDE.iter().any(|b| if b.ends_with('.') { name.starts_with(b) } else { name == *b });
    let rest = |name: &str| name.strip_prefix(prefix).filter(|rest| !rest.is_empty()).map(str::to_owned);
    tensors.keys().any(|name| rest(name).is_some())
        && tensors.keys().all(|name| match rest(name) {
            Some(rest) => !tensors.contains_key(&rest),
            None => beside(name),
        })
}

/// Looks for the weights among the values of a pickle.
struct Finder<'a> {
    path: &'a Path,
    values: &'a Values,
}

impl<'a> Finder<'a> {
    fn none(&self, root: Id) -> Error {
        Error::NoStateDict { path: self.path.to_owned(), found: self.values.kind(root) }
    }

    /// What a value is; a parameter is what its tensor is.
    fn leaf(&self, mut id: Id) -> Leaf {
        // A parameter of a parameter is not written by anyone, and an endless chain of them is an attack.
        for _ in 0..2 {
            let Value::Call { global, args, .. } = self.values.get(id) else {
                break;
            };
            let mut builds = &global.builds;
            let mut args = *args;
            if let (Builds::Retyped, Some(&[function, _class, inner, ..])) = (builds, self.values.items(args))
                && let Value::Global(function) = self.values.get(function)
            {
                (builds, args) = (&function.builds, inner);
            }
            match builds {
                Builds::Tensor { typed } => return Leaf::Tensor(TensorCall { args, typed: *typed }),
                Builds::Parameter => match self.values.items(args).and_then(|args| args.first()) {
                    Some(tensor) => id = *tensor,
                    None => return Leaf::Unread("a parameter without a tensor".into()),
                },
                Builds::Unread(kind) => return Leaf::Unread((*kind).into()),
                Builds::Retyped => return Leaf::Unread("a tensor of an unknown class".into()),
                _ => break,
            }
        }
        match self.values.get(id) {
            Value::Persistent(_) => Leaf::Unread("a storage and no tensor".into()),
            Value::Call { global, .. } => match global.builds {
                Builds::Parameter | Builds::Tensor { .. } | Builds::Retyped | Builds::Unread(_) => {
                    Leaf::Unread("a parameter of a parameter".into())
                }
                _ => Leaf::Other,
            },
            _ => Leaf::Other,
        }
    }

    /// Whether a value is a module or a dictionary of tensors.
    fn is_state(&self, id: Id) -> bool {
        let tensor =
            |(key, value): &(Id, Id)| self.values.str(*key).is_some() && !matches!(self.leaf(*value), Leaf::Other);
        torch_module::is_module(self.values, id) || self.values.dict(id).is_some_and(|pairs| pairs.iter().any(tensor))
    }

    /// Whether a dictionary has one of the keys of the table.
    fn is_wrapper(&self, id: Id) -> bool {
        let key = |(key, value): &(Id, Id)| {
            let known = |key| WRAPPERS.iter().any(|(known, _)| *known == key);
            (self.values.dict(*value).is_some() || torch_module::is_module(self.values, *value))
                && self.values.str(*key).is_some_and(known)
        };
        self.values.dict(id).is_some_and(|pairs| pairs.iter().any(key))
    }

    /// The weights in a wrapper; `None` where the value is none. A state that is `wanted` by name is taken where it is
    /// found, and is no longer wanted then; the names of all states are added to `seen`.
    fn unwrap(&self, wrapper: Id, wanted: &mut Option<&str>, seen: &mut Vec<String>) -> Result<Option<(Id, Decision)>> {
        let Some(pairs) = self.values.dict(wrapper) else {
            return Ok(None);
        };
        // What was looked at once is not looked at again: a file may name one value millions of times.
        let mut known = BTreeMap::new();
        let mut holds = |id: Id| *known.entry(id).or_insert_with(|| self.is_state(id));
        let named = |(key, value): &(Id, Id)| Some((self.values.str(*key)?, *value));
        let mut wrappers = BTreeMap::new();
        let mut is_weights = |holds: &mut dyn FnMut(Id) -> bool, id: Id| {
            holds(id) || *wrappers.entry(id).or_insert_with(|| self.is_wrapper(id))
        };
        if !holds(wrapper) {
            let states = pairs.iter().filter_map(named).filter(|(_, value)| is_weights(&mut holds, *value));
            seen.extend(states.map(|(key, _)| in_message(key)).take(MAX_STATES.saturating_sub(seen.len())));
            let told = wanted.and_then(|state| Some((state, self.values.entry(pairs, state)?)));
            if let Some((state, inner)) = told.filter(|(_, inner)| is_weights(&mut holds, *inner)) {
                *wanted = None;
                let because = format!("`state`{}", self.beside(pairs, state, &mut holds));
                return Ok(Some((inner, Decision { what: "weights", value: in_message(state), because })));
            }
        }
        for (key, users) in WRAPPERS {
            let Some(inner) = self.values.entry(pairs, key) else {
                continue;
            };
            if is_weights(&mut holds, inner) {
                let because = format!("where {users}{}", self.beside(pairs, key, &mut holds));
                return Ok(Some((inner, Decision { what: "weights", value: (*key).into(), because })));
            }
        }
        if holds(wrapper) {
            return Ok(None);
        }
        let states: Vec<_> = pairs.iter().filter_map(named).filter(|(_, value)| holds(*value)).collect();
        match states[..] {
            [] => Ok(None),
            [(key, inner)] => {
                let because = format!("the only entry with tensors{}", self.beside(pairs, key, &mut holds));
                Ok(Some((inner, Decision { what: "weights", value: in_message(key), because })))
            }
            _ => {
                let candidates = states.iter().take(16).map(|(key, _)| in_message(key)).collect();
                Err(Error::SeveralStateDicts { path: self.path.to_owned(), candidates })
            }
        }
    }

    /// What else is in a wrapper, for a message.
    fn beside(&self, pairs: &[(Id, Id)], taken: &str, holds: &mut impl FnMut(Id) -> bool) -> String {
        const LISTED: usize = 8;
        let others = || {
            let named = pairs.iter().filter_map(|(key, value)| Some((self.values.str(*key)?, *value)));
            named.filter(|(key, _)| *key != taken)
        };
        let list = |names: &mut dyn Iterator<Item = &str>| {
            let names: Vec<_> = names.take(LISTED + 1).map(in_message).collect();
            let (listed, more) = names.split_at(names.len().min(LISTED));
            format!("{}{}", listed.join(", "), if more.is_empty() { "" } else { ", …" })
        };
        let rest = list(&mut others().map(|(key, _)| key));
        let weights = list(&mut others().filter(|(_, value)| holds(*value)).map(|(key, _)| key));
        match (rest.is_empty(), weights.is_empty()) {
            (true, _) => String::new(),
            (false, true) => format!("; beside it: {rest}"),
            (false, false) => format!("; beside it: {rest}; `state` takes other weights, not read: {weights}"),
        }
    }

    /// The entries of a dictionary with string keys.
    fn dict(&self, id: Id) -> Result<Entries<'a>> {
        let pairs = self.values.dict(id).ok_or_else(|| self.none(id))?;
        let mut entries = Entries::new(self.path);
        for (key, value) in pairs {
            match self.values.str(*key) {
                Some(name) => entries.push(name.to_owned(), *value)?,
                None if matches!(self.leaf(*value), Leaf::Other) => {}
                None => return Err(entries.bad("?", format!("its name is {}", self.values.kind(*key)))),
            }
        }
        Ok(entries)
    }

    /// The tensors among the entries. A decision lists the entries that are no tensors; a tensor of a kind that is not read
    /// is an error.
    fn tensors(&self, entries: &Entries, decisions: &mut Vec<Decision>) -> Result<BTreeMap<String, TensorCall>> {
        const LISTED: usize = 8;
        let (mut tensors, mut others, mut count) = (BTreeMap::new(), Vec::new(), 0);
        for (name, value) in entries.iter() {
            match self.leaf(value) {
                Leaf::Tensor(call) => {
                    if tensors.insert(name.to_owned(), call).is_some() {
                        return Err(Error::DuplicateTensor { path: self.path.to_owned(), tensor: name.to_owned() });
                    }
                }
                Leaf::Unread(kind) => {
                    return Err(
                        entries.bad(name, format!("it is {kind}, which is not read; save it as a dense tensor"))
                    );
                }
                Leaf::Other => {
                    count += 1;
                    if count <= LISTED {
                        others.push(format!("{name} ({})", self.values.kind(value)));
                    }
                }
            }
        }
        if count > 0 && !tensors.is_empty() {
            let listed = others.join(", ");
            let more = if count > LISTED { ", …" } else { "" };
            decisions.push(Decision {
                what: "left out",
                value: format!("{count} entries"),
                because: format!("they are no tensors: {listed}{more}"),
            });
        }
        Ok(tensors)
    }
}
