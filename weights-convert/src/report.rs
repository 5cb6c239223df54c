//! What a conversion did.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::axes::AxisOrder;
use crate::decision::Decision;
use crate::families::{Recipe, Source};
use crate::read::Checkpoint;
use crate::shown::shown;

/// What a conversion did, as text or JSON. Names are those in the file unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file that was read.
    pub source: String,
    /// Its format.
    pub format: String,
    /// The model directory that was written.
    pub out: String,
    /// What was decided about the network, and why; the family and the rule that fired come first.
    pub decisions: Vec<Decision>,
    /// Number of weights written.
    pub parameters: usize,
    /// The tensors used, one for each of the network's parameters.
    pub used: Listed<String>,
    /// Those of the used tensors that have another name in the model.
    pub renamed: Listed<Renamed>,
    /// Those that changed the order of their axes.
    pub transposed: Listed<String>,
    /// Those that gained or lost axes of one.
    pub reshaped: Listed<String>,
    /// Those that were integers with a scale (TFLite).
    pub dequantized: Listed<String>,
    /// Variables that are known and not part of a network for inference, by what they are.
    pub left_out: BTreeMap<&'static str, Listed<String>>,
    /// Variables that no rule knows. They are not part of the model.
    pub unexpected: Listed<String>,
    /// The network's parameters that the file does not have. Always empty: without them there is no model.
    pub missing: Listed<String>,
    /// Variables that hold NaN or infinities. They are an error unless the model is to be replaced all the same.
    pub not_finite: Listed<String>,
}

/// Names and their number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed<T> {
    /// How many there are.
    pub count: usize,
    /// All of them.
    pub names: Vec<T>,
}

/// A tensor that has another name in the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// Its name in the file.
    pub from: String,
    /// The parameter's name in the model.
    pub to: String,
}

impl<T> FromIterator<T> for Listed<T> {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let names: Vec<T> = names.into_iter().collect();
        Self { count: names.len(), names }
    }
}

/// Letters of a name that the table shows.
const WIDEST_NAME: usize = 60;
/// Letters of the reason for a decision.
const WIDEST_REASON: usize = 300;

/// A name in the table.
trait Named {
    fn shown(&self) -> String;
}

impl Named for String {
    fn shown(&self) -> String {
        shown(self, WIDEST_NAME)
    }
}

impl Named for Renamed {
    fn shown(&self) -> String {
        format!("{} → {}", self.from.shown(), self.to.shown())
    }
}

impl Report {
    /// What converting `checkpoint` by `recipe` into the folder `out` does.
    pub(crate) fn new(checkpoint: &Checkpoint, recipe: &Recipe, out: String) -> Self {
        let sources = &recipe.sources;
        let those = |is: &dyn Fn(&Source) -> bool| sources.iter().filter(|s| is(s)).map(|s| s.name.clone()).collect();
        let renamed = |s: &Source| Renamed { from: s.name.clone(), to: s.param.name.clone() };
        let info = |s: &Source| checkpoint.info(&s.name);
        Self {
            source: checkpoint.path().display().to_string(),
            format: checkpoint.format().to_string(),
            out,
            decisions: recipe.decisions.clone(),
            parameters: sources.iter().map(Source::elements).sum(),
            used: those(&|_| true),
            renamed: sources.iter().filter(|s| s.name != s.param.name).map(renamed).collect(),
            transposed: those(&|s| s.axes != AxisOrder::Same),
            reshaped: those(&|s| info(s).is_some_and(|i| i.shape != s.axes.source_shape(&s.param.shape))),
            dequantized: those(&|s| info(s).is_some_and(|i| i.quantized)),
            left_out: recipe
                .unused
                .left_out
                .iter()
                .map(|(kind, names)| (*kind, names.iter().cloned().collect()))
                .collect(),
            unexpected: recipe.unused.unexpected.iter().cloned().collect(),
            missing: Listed::from_iter([]),
            not_finite: Listed::from_iter([]),
        }
    }

    /// The table's rows: a label, the number of names, and the first of the names.
    fn rows(&self) -> Vec<(String, usize, Vec<String>)> {
        const SOME: usize = 2;
        const MOST: usize = 16;
        fn row<T: Named>(what: &str, list: &Listed<T>, most: usize) -> (String, usize, Vec<String>) {
            (what.to_owned(), list.count, list.names.iter().take(most).map(Named::shown).collect())
        }
        let unused = self.unexpected.count + self.left_out.values().map(|list| list.count).sum::<usize>();
        let left_out = self.left_out.iter().map(|(kind, list)| row(&format!("  {kind}"), list, SOME));
        let mut rows = vec![
            row("used", &self.used, SOME),
            row("renamed", &self.renamed, SOME),
            row("transposed", &self.transposed, SOME),
            row("re-shaped", &self.reshaped, SOME),
        ];
        if self.dequantized.count > 0 {
            rows.push(row("dequantised", &self.dequantized, SOME));
        }
        rows.push(("unused".into(), unused, Vec::new()));
        rows.extend(left_out);
        rows.push(row("  unexpected", &self.unexpected, MOST));
        rows.push(row("missing", &self.missing, MOST));
        if self.not_finite.count > 0 {
            rows.push(row("WARNING: NaN or infinite", &self.not_finite, MOST));
        }
        rows
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.source.escape_debug(), self.format)?;
        let cells = |d: &Decision| [d.what.to_owned(), d.value.shown(), shown(&d.because, WIDEST_REASON)];
        let decisions: Vec<[String; 3]> = self.decisions.iter().map(cells).collect();
        let width = |column: usize| decisions.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
        let (wide, wider) = (width(0), width(1));
        for [what, value, because] in &decisions {
            writeln!(f, "  {what:wide$}  {value:wider$}  {because}")?;
        }
        let rows = self.rows();
        let width = rows.iter().map(|(what, ..)| what.chars().count()).max().unwrap_or(0);
        writeln!(f, "tensors")?;
        let mut elided = false;
        for (what, count, names) in &rows {
            write!(f, "  {what:width$}  {count:>6}")?;
            if !names.is_empty() {
                write!(f, "  {}", names.join(", "))?;
                if *count > names.len() {
                    elided = true;
                    write!(f, ", … and {} more", count - names.len())?;
                }
            }
            writeln!(f)?;
        }
        if elided {
            writeln!(f, "  (`json` lists every name)")?;
        }
        write!(f, "wrote {}: {} parameters", self.out.escape_debug(), self.parameters)
    }
}
