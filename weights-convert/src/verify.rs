//! Compares a model with the network that it was converted from.

use std::fmt;
use std::path::Path;

use candle_core::{DType, Device, Module, Tensor};
use candle_deeplab::DeepLab;
use candle_deeplab::arch::BACKBONE;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::read::Checkpoint;

/// How far two sets of logits are from each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// The largest absolute difference.
    pub max_abs_diff: f64,
    /// The same over the standard deviation of the reference.
    pub max_abs_diff_over_std: f64,
    /// Share of pixels whose best class is the same, 0 to 1.
    pub mask_agreement: f64,
    /// The largest allowed `max_abs_diff_over_std`.
    pub tolerance: f64,
    /// Whether `max_abs_diff_over_std` is within the tolerance.
    pub passed: bool,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "max |Δ|        {:.3e}", self.max_abs_diff)?;
        writeln!(f, "max |Δ| / std  {:.3e} (tolerance {:.0e})", self.max_abs_diff_over_std, self.tolerance)?;
        writeln!(f, "mask agreement {:.4} %", self.mask_agreement * 100.0)?;
        f.write_str(if self.passed { "the same network" } else { "NOT the same network" })
    }
}

/// Compares the logits of the model in `dir`, run on the CPU, with those of the original network.
///
/// `reference` is a safetensors file with an `input` `[N, 3, H, W]`, already preprocessed, and the original's `logits`
/// `[N, classes, h, w]`, at the head's resolution or at the input's. For a backbone without a head it has `features`
/// `[N, C, h, w]` instead. `tolerance` is the largest difference that passes, in standard deviations of the reference.
///
/// # Errors
/// Where the model or the reference cannot be read, or their shapes do not fit each other.
pub fn verify(dir: &Path, reference: &Path, tolerance: f64) -> Result<Comparison> {
    let model = DeepLab::load(dir, &Device::Cpu)?;
    let file = Checkpoint::open(reference)?;
    let headless = model.config().network.aspp.is_none();
    let output = if headless { "features" } else { "logits" };
    let (input, wanted) = (tensor(&file, "input")?, tensor(&file, output)?);
    let head = if headless { model.taps(&input, &[BACKBONE])?.remove(0) } else { model.logits(&input)? };
    let logits = if headless || head.dims() == wanted.dims() {
        head
    } else {
        model.forward(&input).map_err(candle_deeplab::Error::from)?
    };
    if logits.dims() != wanted.dims() || wanted.elem_count() == 0 {
        return Err(Error::ReferenceShape {
            path: reference.to_owned(),
            output,
            found: wanted.dims().to_vec(),
            wanted: logits.dims().to_vec(),
        });
    }
    Ok(compare(&logits, &wanted, tolerance).map_err(candle_deeplab::Error::from)?)
}

fn tensor(file: &Checkpoint, name: &str) -> Result<Tensor> {
    let raw = file.read(name)?;
    let shape = raw.shape.clone();
    Ok(Tensor::from_vec(raw.to_f32()?, shape, &Device::Cpu).map_err(candle_deeplab::Error::from)?)
}

fn compare(logits: &Tensor, wanted: &Tensor, tolerance: f64) -> candle_core::Result<Comparison> {
    let values = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (ours, theirs) = (values(logits)?, values(wanted)?);
    // NaN counts as an infinite difference, on either side.
    let distance = |(a, b): (&f64, &f64)| if (a - b).is_nan() { f64::INFINITY } else { (a - b).abs() };
    let max_abs_diff = ours.iter().zip(&theirs).map(distance).fold(0.0, f64::max);
    let mean = theirs.iter().sum::<f64>() / theirs.len() as f64;
    let std = (theirs.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / theirs.len() as f64).sqrt();
    let over_std = if max_abs_diff == 0.0 { 0.0 } else { max_abs_diff / std };
    let mask = |t: &Tensor| t.argmax(1)?.flatten_all()?.to_vec1::<u32>();
    let (mask, wanted_mask) = (mask(logits)?, mask(wanted)?);
    let agreeing = mask.iter().zip(&wanted_mask).filter(|(a, b)| a == b).count();
    Ok(Comparison {
        max_abs_diff,
        max_abs_diff_over_std: over_std,
        mask_agreement: agreeing as f64 / mask.len() as f64,
        tolerance,
        passed: over_std <= tolerance,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(values: &[f32]) -> Tensor {
        Tensor::from_slice(values, (1, 2, 1, values.len() / 2), &Device::Cpu).unwrap()
    }

    #[test]
    fn equal_logits_pass_at_any_tolerance() {
        let a = logits(&[1., 2., 3., 4.]);
        let same = compare(&a, &a, 0.0).unwrap();
        assert!(same.passed && same.mask_agreement == 1.0);
    }

    #[test]
    fn the_difference_is_measured_in_standard_deviations_of_the_reference() {
        let found = compare(&logits(&[1., -1., 1.5, -1.]), &logits(&[1., -1., 1., -1.]), 0.4).unwrap();
        assert_eq!((found.max_abs_diff, found.max_abs_diff_over_std, found.passed), (0.5, 0.5, false));
        assert!(compare(&logits(&[1., -1., 1.5, -1.]), &logits(&[1., -1., 1., -1.]), 0.6).unwrap().passed);
    }

    #[test]
    fn what_is_not_a_number_never_passes() {
        let good = logits(&[1., 2., 3., 4.]);
        let bad = logits(&[1., f32::NAN, 3., 4.]);
        assert!(!compare(&bad, &good, 1e9).unwrap().passed);
        assert!(!compare(&good, &bad, 1e9).unwrap().passed);
        assert!(!compare(&bad, &bad, 1e9).unwrap().passed);
    }
}
