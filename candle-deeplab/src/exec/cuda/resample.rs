//! How the `image` crate resizes along an axis, as tables for the kernels in `pixels.cu`.

use crate::config::Filter;

/// Each output along an axis as a weighted sum of inputs.
#[derive(Debug)]
pub(super) struct Table {
    /// The first input of each output.
    pub(super) starts: Vec<u32>,
    /// The number of its inputs.
    pub(super) counts: Vec<u32>,
    /// The weights of each output, padded with zeros to `most`.
    pub(super) weights: Vec<f32>,
    /// The largest number of inputs of an output.
    pub(super) most: usize,
}

impl Table {
    /// Resizes `from` inputs to `to` outputs, by the operations of `image::imageops::resize` in their order, so that the
    /// results are the same to the last bit. The filter is widened when scaling down.
    pub(super) fn new(from: usize, to: usize, filter: Filter) -> Self {
        let ratio = from as f32 / to as f32;
        let widening = if ratio < 1.0 { 1.0 } else { ratio };
        let reach = support(filter) * widening;
        let outputs = (0..to).map(|output| {
            let centre = (output as f32 + 0.5) * ratio;
            let start = ((centre - reach).floor() as i64).clamp(0, from as i64 - 1);
            let end = ((centre + reach).ceil() as i64).clamp(start + 1, from as i64);
            let weight = |input: i64| kernel(filter, (input as f32 - (centre - 0.5)) / widening);
            let mut weights: Vec<f32> = (start..end).map(weight).collect();
            let sum: f32 = weights.iter().fold(0.0, |sum, weight| sum + weight);
            weights.iter_mut().for_each(|weight| *weight /= sum);
            (start as u32, weights)
        });
        let outputs: Vec<(u32, Vec<f32>)> = outputs.collect();
        let most = outputs.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        let padded = |weights: &Vec<f32>| {
            let zeros = std::iter::repeat_n(0.0, most - weights.len());
            weights.iter().copied().chain(zeros).collect::<Vec<f32>>()
        };
        Self {
            starts: outputs.iter().map(|(start, _)| *start).collect(),
            counts: outputs.iter().map(|(_, weights)| weights.len() as u32).collect(),
            weights: outputs.iter().flat_map(|(_, weights)| padded(weights)).collect(),
            most,
        }
    }
}

/// How many inputs a filter reaches to either side, at the same size.
fn support(filter: Filter) -> f32 {
    match filter {
        Filter::Bilinear => 1.0,
        Filter::Lanczos => 3.0,
    }
}

fn kernel(filter: Filter, x: f32) -> f32 {
    match filter {
        Filter::Bilinear if x.abs() < 1.0 => 1.0 - x.abs(),
        Filter::Lanczos if x.abs() < 3.0 => sinc(x) * sinc(x / 3.0),
        _ => 0.0,
    }
}

fn sinc(x: f32) -> f32 {
    let angle = x * std::f32::consts::PI;
    if x == 0.0 { 1.0 } else { angle.sin() / angle }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_blends_neighbours_and_the_edges_are_clamped() {
        let table = Table::new(2, 4, Filter::Bilinear);
        assert_eq!((table.starts, table.counts, table.most), (vec![0; 4], vec![2; 4], 2));
        assert_eq!(table.weights, [1.0, 0.0, 0.75, 0.25, 0.25, 0.75, 0.0, 1.0]);
    }

    #[test]
    fn weights_sum_to_one_and_inputs_exist() {
        for (from, to) in [(1, 1), (1, 7), (9, 4), (640, 513), (3, 5)] {
            for filter in [Filter::Bilinear, Filter::Lanczos] {
                let Table { starts, counts, weights, most } = Table::new(from, to, filter);
                assert_eq!((starts.len(), counts.len(), weights.len()), (to, to, to * most));
                for (output, weights) in weights.chunks_exact(most).enumerate() {
                    let (start, count) = (starts[output] as usize, counts[output] as usize);
                    assert!(count > 0 && start + count <= from, "{from} to {to}: {output}");
                    assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                    assert!(weights[count..].iter().all(|weight| *weight == 0.0));
                }
            }
        }
    }
}
