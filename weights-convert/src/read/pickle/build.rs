//! What REDUCE, NEWOBJ and BUILD make. Python would call something there; here, containers are made and every other call
//! is only noted down.

use super::Fault;
use super::globals::{Builds, Global};
use super::value::{Id, Value, Values};

/// REDUCE: `callable(*args)`.
pub(super) fn reduce(values: &mut Values, callable: Id, args: Id) -> Result<Id, Fault> {
    let global = callee(values, callable, args)?;
    match global.builds {
        Builds::Dict => dict(values, args),
        Builds::Set => {
            let items = items_of_first(values, args)?;
            values.add(Value::Set(items))
        }
        Builds::List => {
            let items = items_of_first(values, args)?;
            values.add(Value::List(items))
        }
        Builds::Attribute => match values.items(args) {
            Some(&[class, name]) if is_aside(values, class) && values.str(name).is_some() => {
                values.add(Value::Call { global, args, state: None })
            }
            _ => Err(Fault::Forbidden(format!("{global}()"))),
        },
        Builds::Tuple => match first(values, args) {
            Some(items) if values.items(items).is_some() => Ok(items),
            _ => Err(Fault::Bad(format!("`{global}` of what is no tuple"))),
        },
        Builds::Tensor { .. } | Builds::Parameter | Builds::Retyped | Builds::Unread(_) | Builds::Aside => {
            values.add(Value::Call { global, args, state: None })
        }
        Builds::Storage(_) | Builds::UntypedStorage | Builds::Element(_) | Builds::Module => {
            Err(Fault::Forbidden(format!("{global}()")))
        }
    }
}

/// NEWOBJ: `class.__new__(class, *args)`.
pub(super) fn instance(values: &mut Values, class: Id, args: Id) -> Result<Id, Fault> {
    let global = callee(values, class, args)?;
    match global.builds {
        // The items follow, one opcode each.
        Builds::Dict => values.add(Value::Dict(Vec::new())),
        Builds::Module | Builds::Aside => values.add(Value::Call { global, args, state: None }),
        Builds::List => values.add(Value::List(Vec::new())),
        _ => Err(Fault::Forbidden(format!("{global}()"))),
    }
}

/// BUILD: `object.__setstate__(state)`.
pub(super) fn set_state(values: &mut Values, object: Id, state: Id) -> Result<(), Fault> {
    match values.get_mut(object) {
        Some(Value::Call { state: has, .. }) => *has = Some(state),
        // A state dict carries the versions of its modules as an attribute.
        Some(Value::Dict(_) | Value::List(_)) => {}
        _ => return Err("it gives a state to what has none".into()),
    }
    Ok(())
}

/// The global that is called; the arguments have to be a tuple.
fn callee(values: &Values, callable: Id, args: Id) -> Result<&'static Global, Fault> {
    if !matches!(values.get(args), Value::Tuple(_)) {
        return Err("it calls with arguments that are no tuple".into());
    }
    match values.get(callable) {
        Value::Global(global) => Ok(global),
        _ => Err("it calls what is no global".into()),
    }
}

/// Whether a value is a class of things beside the weights.
fn is_aside(values: &Values, id: Id) -> bool {
    matches!(values.get(id), Value::Global(global) if matches!(global.builds, Builds::Aside))
}

/// The first argument.
fn first(values: &Values, args: Id) -> Option<Id> {
    values.items(args)?.first().copied()
}

/// A copy of the items of the first argument; none where there is no argument.
fn items_of_first(values: &mut Values, args: Id) -> Result<Vec<Id>, Fault> {
    let items = first(values, args).and_then(|from| values.items(from)).unwrap_or_default().to_vec();
    values.spend(items.len())?;
    Ok(items)
}

/// A dictionary made of nothing, of pairs, or of another dictionary. The factory of a `defaultdict` is neither.
fn dict(values: &mut Values, args: Id) -> Result<Id, Fault> {
    let mut pairs = Vec::new();
    if let Some(from) = first(values, args) {
        let len = values.items(from).map_or(0, <[_]>::len).max(values.dict(from).map_or(0, <[_]>::len));
        values.spend(len)?;
        if let Some(dict) = values.dict(from) {
            pairs.extend_from_slice(dict);
        }
        for item in values.items(from).unwrap_or_default() {
            match values.items(*item) {
                Some([key, value]) => pairs.push((*key, *value)),
                _ => return Err("a dictionary from what are no pairs".into()),
            }
        }
    }
    values.add(Value::Dict(pairs))
}
