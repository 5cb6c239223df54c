//! Integers that stand for real numbers: `(q − zero point) · scale`, with one scale for a tensor or one for each of its
//! channels (TFLite's quantisation specification).

/// Scales and zero points.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quantization {
    scales: Vec<f32>,
    /// One for each scale, or none: all are 0 then.
    zero_points: Vec<i64>,
    /// The axis that the scales belong to, where there are several.
    axis: usize,
}

impl Quantization {
    /// Checks that they fit a tensor of this shape. Zero points may be left out.
    pub(crate) fn new(
        scales: Vec<f32>,
        zero_points: Vec<i64>,
        axis: usize,
        shape: &[usize],
    ) -> Result<Self, &'static str> {
        if !zero_points.is_empty() && zero_points.len() != scales.len() {
            return Err("it has not as many zero points as scales");
        }
        if scales.len() != 1 && shape.get(axis) != Some(&scales.len()) {
            return Err("it has neither one scale nor one for each of its channels");
        }
        if !scales.iter().all(|scale| scale.is_finite() && *scale >= 0.0) {
            return Err("one of its scales is no positive number");
        }
        Ok(Self { scales, zero_points, axis })
    }

    /// The bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.scales[..]) + size_of_val(&self.zero_points[..])
    }

    /// The numbers that the elements of a tensor of the shape stand for.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // rounding to f32 is what was asked for
    pub(crate) fn to_f32(&self, integers: impl ExactSizeIterator<Item = i64>, shape: &[usize]) -> Vec<f32> {
        let several = self.scales.len() > 1;
        // How many elements follow each other in one channel.
        let run = match several {
            true => shape.iter().skip(self.axis + 1).product::<usize>().max(1),
            false => integers.len().max(1),
        };
        let real = |(index, q): (usize, i64)| {
            let channel = index / run % self.scales.len();
            let zero = self.zero_points.get(channel).copied().unwrap_or(0);
            ((q as f64 - zero as f64) * f64::from(self.scales[channel])) as f32
        };
        integers.enumerate().map(real).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_scale_is_everybodys() {
        let q = Quantization::new(vec![0.5], vec![128], 0, &[3]).unwrap();
        assert_eq!(q.to_f32([0, 128, 255].into_iter(), &[3]), [-64.0, 0.0, 63.5]);
        assert_eq!(q.to_f32([].into_iter(), &[0]), [0.0; 0]);
    }

    #[test]
    fn scales_of_channels_belong_to_their_axis() {
        let scales = || vec![1.0, 10.0];
        let first = Quantization::new(scales(), vec![], 0, &[2, 3]).unwrap();
        assert_eq!(first.to_f32([1, 2, 3, 1, 2, 3].into_iter(), &[2, 3]), [1., 2., 3., 10., 20., 30.]);
        let last = Quantization::new(scales(), vec![0, 1], 1, &[3, 2]).unwrap();
        assert_eq!(last.to_f32([1, 1, 2, 2, 3, 3].into_iter(), &[3, 2]), [1., 0., 2., 10., 3., 20.]);
    }

    #[test]
    fn scales_that_do_not_fit_are_refused() {
        assert!(Quantization::new(vec![], vec![], 0, &[3]).is_err());
        assert!(Quantization::new(vec![1.0, 2.0], vec![], 0, &[3]).is_err());
        assert!(Quantization::new(vec![1.0; 3], vec![], 1, &[3]).is_err());
        assert!(Quantization::new(vec![1.0], vec![1, 2], 0, &[3]).is_err());
        assert!(Quantization::new(vec![f32::NAN], vec![], 0, &[3]).is_err());
        assert!(Quantization::new(vec![-1.0], vec![], 0, &[3]).is_err());
    }
}
