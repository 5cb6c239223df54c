//! The options of a request.

use candle_deeplab::Labels;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::format::{Format, Look};
use crate::problem::{Problem, Result};

/// The options of a request, from its address or from the fields of a form.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Options {
    /// The model; the first one that is served by default.
    pub(crate) model: Option<String>,
    /// One or several, with commas between them, of overlay, color, contours, mask, ids, confidence, json, rle, geojson,
    /// npy, probs, cutout. By default, what `Accept` says, else overlay.
    pub(crate) format: Option<String>,
    /// The classes to keep, by name or id, with commas between them; the rest becomes background.
    pub(crate) classes: Option<String>,
    /// The classes that a cutout shows.
    pub(crate) cutout: Option<String>,
    /// How much an overlay's colours cover the photograph, from 0 to 1; by default 0.6.
    #[param(minimum = 0, maximum = 1)]
    pub(crate) opacity: Option<f32>,
    /// The least share of the image, from 0 to 1, at which a class is drawn; by default 0.005.
    #[param(minimum = 0, maximum = 1)]
    pub(crate) min_share: Option<f64>,
}

impl Options {
    /// Sets an option by its name, as a form has it.
    ///
    /// # Errors
    /// There is no such option, or the value cannot be one.
    pub(crate) fn set(&mut self, name: &str, value: String) -> Result<()> {
        let wrong = || Problem::bad(format!("`{name}` must be a number"));
        match name {
            "model" => self.model = Some(value),
            "format" => self.format = Some(value),
            "classes" => self.classes = Some(value),
            "cutout" => self.cutout = Some(value),
            "opacity" => self.opacity = Some(value.trim().parse().map_err(|_| wrong())?),
            "min_share" => self.min_share = Some(value.trim().parse().map_err(|_| wrong())?),
            _ => {
                let name: String = name.chars().take(32).collect();
                return Err(Problem::bad(format!("there is no option `{name}`: `/openapi.json` lists them")));
            }
        }
        Ok(())
    }

    /// The formats that are wanted, and how they look.
    ///
    /// # Errors
    /// A value is out of its range, or names what there is not.
    pub(crate) fn formats(&self, accept: &str, labels: &Labels) -> Result<(Vec<Format>, Look)> {
        let (accepted, picture) = Format::accepted(accept);
        let formats = match &self.format {
            Some(text) => Format::list(text)?,
            None if self.cutout.is_some() => vec![Format::Cutout],
            None => vec![accepted],
        };
        let (opacity, min_share) = (self.opacity.unwrap_or(0.6), self.min_share.unwrap_or(0.005));
        if !(0.0..=1.0).contains(&opacity) || !(0.0..=1.0).contains(&min_share) {
            return Err(Problem::bad("`opacity` and `min_share` are numbers from 0 to 1"));
        }
        let ids = |text: &Option<String>| text.as_deref().map(|text| class_ids(text, labels)).transpose();
        let (classes, cutout) = (ids(&self.classes)?, ids(&self.cutout)?);
        if formats.contains(&Format::Cutout) && cutout.is_none() {
            return Err(Problem::bad("say what to cut out, e.g. `cutout=person,dog`"));
        }
        Ok((formats, Look { picture, opacity, min_share, classes, cutout: cutout.unwrap_or_default() }))
    }
}

/// The ids of classes, which are given by name or id with commas between them.
fn class_ids(text: &str, labels: &Labels) -> Result<Vec<u8>> {
    let ids = text.split(',').map(|class| labels.find(class.trim()).map_err(Problem::bad));
    Ok(ids.collect::<Result<Vec<_>>>()?.concat())
}
