//! REDUCE, NEWOBJ and BUILD, where Python would call something. Here containers are made and everything else is
//! noted down.

use super::machine::Machine;
use super::{Builds, Fault, Global, Id, Value};

impl Machine<'_> {
    /// REDUCE: `callable(*args)`.
    pub(super) fn reduce(&mut self, callable: Id, args: Id) -> Result<Id, Fault> {
        let global = self.named(callable, args)?;
        match global.builds {
            Builds::Dict => self.dict(args),
            Builds::Set => self.set_of(args),
            Builds::List => self.list(args),
            Builds::Attribute => match self.values.items(args) {
                Some(&[class, name]) if self.is_aside(class) && self.values.str(name).is_some() => {
                    self.values.add(Value::Call { global, args, state: None })
                }
                _ => Err(Fault::Forbidden(format!("{global}()"))),
            },
            Builds::Tuple => match self.first(args) {
                Some(items) if self.values.items(items).is_some() => Ok(items),
                _ => Err(Fault::Bad(format!("`{global}` of what is no tuple"))),
            },
            Builds::Tensor { .. } | Builds::Parameter | Builds::Retyped | Builds::Unread(_) | Builds::Aside => {
                self.values.add(Value::Call { global, args, state: None })
            }
            Builds::Storage(_) | Builds::UntypedStorage | Builds::Element(_) | Builds::Module => {
                Err(Fault::Forbidden(format!("{global}()")))
            }
        }
    }

    /// NEWOBJ: `class.__new__(class, *args)`.
    pub(super) fn instance(&mut self, class: Id, args: Id) -> Result<Id, Fault> {
        let global = self.named(class, args)?;
        match global.builds {
            // What it holds is set item by item.
            Builds::Dict => self.values.add(Value::Dict(Vec::new())),
            Builds::Module | Builds::Aside => self.values.add(Value::Call { global, args, state: None }),
            Builds::List => self.values.add(Value::List(Vec::new())),
            _ => Err(Fault::Forbidden(format!("{global}()"))),
        }
    }

    /// BUILD: `object.__setstate__(state)`.
    pub(super) fn build(&mut self, object: Id, state: Id) -> Result<(), Fault> {
        match self.values.get_mut(object) {
            Some(Value::Call { state: has, .. }) => *has = Some(state),
            // A state dict carries the versions of its modules as an attribute.
            Some(Value::Dict(_) | Value::List(_)) => {}
            _ => return Err("it gives a state to what has none".into()),
        }
        Ok(())
    }

    fn named(&self, callable: Id, args: Id) -> Result<&'static Global, Fault> {
        if !matches!(self.values.get(args), Value::Tuple(_)) {
            return Err("it calls with arguments that are no tuple".into());
        }
        match self.values.get(callable) {
            Value::Global(global) => Ok(global),
            _ => Err("it calls what is no global".into()),
        }
    }

    /// Whether a value is a class of things beside the weights.
    fn is_aside(&self, id: Id) -> bool {
        matches!(self.values.get(id), Value::Global(global) if matches!(global.builds, Builds::Aside))
    }

    fn list(&mut self, args: Id) -> Result<Id, Fault> {
        let items = self.first(args).and_then(|from| self.values.items(from)).unwrap_or_default().to_vec();
        self.spend(items.len())?;
        self.values.add(Value::List(items))
    }

    fn first(&self, args: Id) -> Option<Id> {
        self.values.items(args)?.first().copied()
    }

    /// A dictionary from nothing, from pairs, or from another one; the factory of a defaultdict is not asked.
    fn dict(&mut self, args: Id) -> Result<Id, Fault> {
        let from = self.first(args);
        let mut pairs = Vec::new();
        if let Some(from) = from {
            let len = self.values.items(from).map_or(0, <[_]>::len).max(self.values.dict(from).map_or(0, <[_]>::len));
            self.spend(len)?;
            if let Some(dict) = self.values.dict(from) {
                pairs.extend_from_slice(dict);
            }
            for item in self.values.items(from).unwrap_or_default() {
                match self.values.items(*item) {
                    Some([key, value]) => pairs.push((*key, *value)),
                    _ => return Err("a dictionary from what are no pairs".into()),
                }
            }
        }
        self.values.add(Value::Dict(pairs))
    }

    fn set_of(&mut self, args: Id) -> Result<Id, Fault> {
        let items = self.first(args).and_then(|from| self.values.items(from)).unwrap_or_default().to_vec();
        self.spend(items.len())?;
        self.values.add(Value::Set(items))
    }
}
