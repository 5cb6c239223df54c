//! What a conversion did.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::families::Decision;

/// What a conversion did, as text or JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file that was read.
    pub source: String,
    /// Its format.
    pub format: String,
    /// The model directory that was written.
    pub out: String,
    /// What was decided about the network, and why.
    pub decisions: Vec<Decision>,
    /// Number of tensors used, one for each of the network's parameters.
    pub used: usize,
    /// How many of them changed the order of their axes.
    pub transposed: usize,
    /// Number of weights written.
    pub parameters: usize,
    /// Variables that only training needs, by kind.
    pub dropped: BTreeMap<&'static str, usize>,
    /// Variables that no rule knows. They are not part of the model.
    pub unused: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.source.escape_debug(), self.format)?;
        let width = |column: fn(&Decision) -> &str| self.decisions.iter().map(|d| column(d).chars().count()).max();
        let (what, value) = (width(|d| d.what).unwrap_or(0), width(|d| &d.value).unwrap_or(0));
        for d in &self.decisions {
            writeln!(f, "  {:what$}  {:value$}  {}", d.what, d.value, d.because)?;
        }
        write!(f, "{} tensors used ({} transposed)", self.used, self.transposed)?;
        for (kind, count) in &self.dropped {
            write!(f, ", {count} dropped ({kind})")?;
        }
        writeln!(f, ", {} unused", self.unused.len())?;
        for name in &self.unused {
            writeln!(f, "  unused: {}", name.escape_debug())?;
        }
        write!(f, "wrote {}: {} parameters", self.out.escape_debug(), self.parameters)
    }
}
