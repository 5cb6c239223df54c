//! Golden results of the original code bases, and the tolerances for ours.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::Value;

/// Largest allowed difference of f32 results, in standard deviations of the reference.
pub(crate) const TOLERANCE: f64 = 1e-4;

/// The same for the fused executor, which folds weights and sums in another order.
pub(crate) const FUSED_TOLERANCE: f64 = 1e-3;

/// The tensors of a golden file.
pub(crate) struct Golden(pub(crate) BTreeMap<String, Tensor>);

/// Summary of a tensor that is too large to store: mean, standard deviation and 32 of its values.
pub(crate) struct Summary {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

impl Golden {
    pub(crate) fn open(path: &Path) -> Self {
        Self(candle_core::safetensors::load(path, &Device::Cpu).unwrap().into_iter().collect())
    }

    pub(crate) fn get(&self, name: &str) -> &Tensor {
        &self.0[name]
    }

    /// A stored tensor `[H, W, C]` as `[1, C, H, W]`.
    pub(crate) fn nchw(&self, name: &str) -> Tensor {
        self.get(name).permute((2, 0, 1)).unwrap().unsqueeze(0).unwrap().contiguous().unwrap()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        self.get(name).flatten_all().unwrap().to_vec1().unwrap()
    }

    pub(crate) fn floats(&self, name: &str) -> Vec<f32> {
        self.get(name).flatten_all().unwrap().to_vec1().unwrap()
    }
}

/// The summaries of a network's end points, from `endpoints.json`.
pub(crate) fn end_points(path: &Path) -> BTreeMap<String, Summary> {
    let json: BTreeMap<String, Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let summary = |v: Value| Summary {
        shape: serde_json::from_value(v["shape"].clone()).unwrap(),
        values: serde_json::from_value(v["summary"].clone()).unwrap(),
    };
    json.into_iter().map(|(name, v)| (name, summary(v))).collect()
}

/// The largest difference of two tensors, divided by the standard deviation of the second.
pub(crate) fn distance(ours: &Tensor, reference: &Tensor) -> f64 {
    assert_eq!(ours.dims(), reference.dims());
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (ours, reference) = (values(ours), values(reference));
    largest_difference(&ours, &reference) / mean_and_std(&reference).1
}

/// The largest difference of a tensor `[1, C, H, W]` from a summary (in NHWC order), divided by the summary's standard
/// deviation.
pub(crate) fn distance_to_summary(ours: &Tensor, summary: &[f32]) -> f64 {
    let values: Vec<f32> =
        ours.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let (mean, std) = mean_and_std(&values);
    let n = values.len();
    let spread = (0..16).map(|k| values[k * (n - 1) / 15]);
    let ours: Vec<f32> = [mean as f32, std as f32].into_iter().chain(values[..16].to_vec()).chain(spread).collect();
    largest_difference(&ours, summary) / f64::from(summary[1])
}

fn largest_difference(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference = |(a, b): (&f32, &f32)| if (a - b).is_nan() { f64::INFINITY } else { f64::from(a - b).abs() };
    a.iter().zip(b).map(difference).fold(0.0, f64::max)
}

fn mean_and_std(values: &[f32]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    (mean, (values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt())
}
