//! What was decided on the way from a file to a model.

use serde::Serialize;

/// Something that was decided about a file, and why. The report and the model card list all decisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// What was decided, e.g. `output stride`.
    pub what: &'static str,
    /// The decision.
    pub value: String,
    /// The rule that fired.
    pub because: String,
}
