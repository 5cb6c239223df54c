//! The softmax over the classes of one row of pixels.

/// The softmax of a row, without its last division: `exp(z − greatest)`, and what belongs to it.
pub(super) struct Softmax {
    /// The greatest logit of each pixel.
    pub(super) greatest: Vec<f32>,
    /// The first class that has it.
    winner: Vec<f32>,
    /// The sum over the classes of `exp(z − greatest)`.
    pub(super) sum: Vec<f32>,
}

impl Softmax {
    pub(super) fn new(width: usize) -> Self {
        let row = || vec![0.0; width];
        Self { greatest: row(), winner: row(), sum: row() }
    }

    /// Finds the greatest logit of each pixel of a row `[C, W]`.
    pub(super) fn start(&mut self, logits: &[f32]) {
        let width = self.sum.len();
        self.greatest.fill(f32::NEG_INFINITY);
        self.winner.fill(0.0);
        for (class, logits) in logits.chunks_exact(width).enumerate() {
            let class = class as f32;
            for ((greatest, winner), &z) in self.greatest.iter_mut().zip(&mut self.winner).zip(logits) {
                let wins = z > *greatest;
                *winner = if wins { class } else { *winner };
                *greatest = if wins { z } else { *greatest };
            }
        }
    }

    /// Turns the logits into `exp(z − greatest)` and adds these up, after [`start`](Self::start).
    pub(super) fn exponentiate(&mut self, logits: &mut [f32]) {
        let width = self.sum.len();
        self.sum.fill(0.0);
        for logits in logits.chunks_exact_mut(width) {
            for ((z, &greatest), sum) in logits.iter_mut().zip(&self.greatest).zip(&mut self.sum) {
                *z = exp(*z - greatest);
                *sum += *z;
            }
        }
    }

    /// Whether the class is the first that has the greatest logit.
    pub(super) fn wins(&self, pixel: usize, class: u8) -> bool {
        self.winner[pixel] == f32::from(class)
    }
}

/// `exp(x)` for `x ≤ 0` within 2 units in the last place, without a branch, so that it is computed for several values at
/// once. Below −87, it is `exp(−87)`, about the smallest normal number. NaN stays NaN.
///
/// It is 2^k · exp(r) with |r| ≤ ln(2)/2 and a polynomial of degree 6 (Cephes, `expf`).
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let k = rounded - ROUND;
    let r = x - k * LN2_HIGH - k * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + coefficient;
    }
    let p = p * r * r + r + 1.0;
    // The low bits of `rounded`, as an exponent.
    p * f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0_f32.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_that_of_the_standard_library() {
        for i in 0..=870_000 {
            let x = -1e-4 * i as f32;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((ours - exact).abs() <= 2.0 * f64::from(f32::EPSILON) * exact, "exp({x}): {ours} against {exact}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), exp(-87.0));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn the_first_of_equals_wins() {
        let mut softmax = Softmax::new(2);
        softmax.start(&[1.0, 2.0, 1.0, 3.0, 0.0, 3.0]);
        assert!(softmax.wins(0, 0) && !softmax.wins(0, 1));
        assert!(softmax.wins(1, 1) && !softmax.wins(1, 2));
        let mut logits = [1.0, 2.0, 1.0, 3.0, 0.0, 3.0];
        softmax.exponentiate(&mut logits);
        assert_eq!([logits[0], logits[5]], [1.0; 2]);
        assert!((softmax.sum[1] - 2.367_879_4).abs() < 1e-6);
    }
}
