//! Computes how opaque each place of a cutout is, and its colour without the background, at a resolution that suffices
//! for both: edges and colours of the photograph itself come in when a matte is applied.

use image::RgbImage;
use image::imageops::thumbnail;
use rayon::prelude::*;

use super::distance::squared_distances;
use super::fill::filled;

/// The most pixels of the longer side.
const MOST: u32 = 384;
/// The radius of the window of the guided filter, as a share of the side.
const RADIUS: f32 = 0.018;
/// Contrasts below the square root of this do not count as edges.
const SMOOTHNESS: f32 = 4e-4;
/// How far the cutout's edge may be from the network's, as a share of the side. Beyond half of that, the network's
/// decision gains weight.
const LEEWAY: f32 = 0.02;

/// The parameters of a matte at a place.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// The opacity is `slope` · (red, green, blue) + `offset` of the pixel.
    slope: [f32; 3],
    offset: f32,
    /// The weight of the network's decision: 1 where it alone counts.
    sure: f32,
    /// The network's decision: 1 inside, 0 outside.
    within: f32,
    /// The colours of the foreground and of the background nearby.
    front: [f32; 3],
    behind: [f32; 3],
}

/// Places on a regular grid over the image, row by row.
pub(super) struct Matte {
    pub(super) places: Vec<Place>,
    pub(super) width: usize,
}

/// The size of a matte for an image.
pub(super) fn size_for(width: u32, height: u32) -> (u32, u32) {
    let longer = width.max(height);
    let scaled = |side: u32| (u64::from(side) * u64::from(MOST)).div_ceil(u64::from(longer)) as u32;
    let side = |side: u32| if longer > MOST { scaled(side) } else { side };
    (side(width), side(height))
}

impl Matte {
    /// Computes the matte of an image. `probability` has a value for each place, at the size that [`size_for`] gives.
    pub(super) fn new(image: &RgbImage, probability: &[f32]) -> Self {
        let (width, height) = size_for(image.width(), image.height());
        let small = if image.dimensions() == (width, height) { image.clone() } else { thumbnail(image, width, height) };
        let photo: Vec<[f32; 3]> = small.pixels().map(|pixel| pixel.0.map(|value| f32::from(value) / 255.0)).collect();
        let width = width as usize;
        let side = (photo.len() as f32).sqrt();
        let linear = guided(&photo, probability, width, ((RADIUS * side).round() as usize).max(2));
        let within: Vec<bool> = probability.iter().map(|probability| *probability > 0.5).collect();
        let outside: Vec<bool> = within.iter().map(|within| !within).collect();
        let (depth, distance) =
            rayon::join(|| squared_distances(&within, width, 1.0), || squared_distances(&outside, width, 1.0));
        let mut places: Vec<Place> = (0..photo.len())
            .map(|index| {
                let (slope, offset) = linear[index];
                let away = depth[index].max(distance[index]).sqrt() / (LEEWAY * side).max(2.0);
                let within = f32::from(u8::from(within[index]));
                let sure = (2.0 * away - 1.0).clamp(0.0, 1.0);
                Place { slope, offset, sure, within, ..Place::default() }
            })
            .collect();
        let opacity: Vec<f32> = places.iter().zip(&photo).map(|(place, color)| place.opacity(*color)).collect();
        let known =
            |wanted: fn(f32) -> bool| opacity.iter().map(|opacity| f32::from(u8::from(wanted(*opacity)))).collect();
        let (front, behind) = rayon::join(
            || filled(&photo, known(|opacity| opacity > 0.97), width),
            || filled(&photo, known(|opacity| opacity < 0.03), width),
        );
        for (place, (front, behind)) in places.iter_mut().zip(front.into_iter().zip(behind)) {
            (place.front, place.behind) = (front, behind);
        }
        Self { places, width }
    }
}

impl Place {
    /// Whether the places around a pixel agree with certainty, so that no interpolation is needed: `Some(true)` is
    /// opaque.
    pub(super) fn settled(places: [&Self; 4]) -> Option<bool> {
        let agree = places.iter().all(|place| place.sure >= 1.0 && place.within == places[0].within);
        agree.then(|| places[0].within > 0.5)
    }

    /// Interpolates between two places.
    pub(super) fn between(&self, other: &Self, part: f32) -> Self {
        let mix = |a: f32, b: f32| a + (b - a) * part;
        let mix3 = |a: [f32; 3], b: [f32; 3]| std::array::from_fn(|i| mix(a[i], b[i]));
        Self {
            slope: mix3(self.slope, other.slope),
            offset: mix(self.offset, other.offset),
            sure: mix(self.sure, other.sure),
            within: mix(self.within, other.within),
            front: mix3(self.front, other.front),
            behind: mix3(self.behind, other.behind),
        }
    }

    /// The opacity of a pixel of this colour, from 0 to 1.
    pub(super) fn opacity(&self, color: [f32; 3]) -> f32 {
        let guided = self.offset + (0..3).map(|i| self.slope[i] * color[i]).sum::<f32>();
        // What is nearly opaque or nearly transparent becomes entirely so.
        let ramp = ((guided - 0.2) / 0.6).clamp(0.0, 1.0);
        let soft = ramp * ramp * (3.0 - 2.0 * ramp);
        (soft + (self.within - soft) * self.sure).clamp(0.0, 1.0)
    }

    /// A pixel of the photograph with its opacity, and without the background's colour.
    ///
    /// The part of its colour that a mixture of the nearby colours does not explain belongs to the foreground, in
    /// proportion to the opacity (Forte, "Approximate Fast Foreground Colour Estimation", 2021).
    pub(super) fn cut(&self, pixel: [u8; 3]) -> [u8; 4] {
        let color = pixel.map(|value| f32::from(value) / 255.0);
        let opacity = self.opacity(color);
        let alpha = (255.0 * opacity + 0.5) as u8;
        match alpha {
            0 => [0; 4],
            255 => [pixel[0], pixel[1], pixel[2], 255],
            _ => {
                let [red, green, blue] = std::array::from_fn(|i| {
                    let mixture = opacity * self.front[i] + (1.0 - opacity) * self.behind[i];
                    // The cast saturates at 0 and 255.
                    (255.0 * (self.front[i] + opacity * (color[i] - mixture)) + 0.5) as u8
                });
                [red, green, blue, alpha]
            }
        }
    }
}

/// For each place, the linear function of the photograph's colours that fits `target` best around it (He, Sun and Tang,
/// "Guided Image Filtering", 2013), as slopes and offset.
fn guided(photo: &[[f32; 3]], target: &[f32], width: usize, radius: usize) -> Vec<([f32; 3], f32)> {
    const PAIRS: [(usize, usize); 6] = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)];
    let channel = |i: usize| photo.iter().map(move |color| color[i]);
    let planes: Vec<Vec<f32>> = (0..13)
        .into_par_iter()
        .map(|plane| {
            let values: Vec<f32> = match plane {
                0..3 => channel(plane).collect(),
                3 => target.to_vec(),
                4..7 => channel(plane - 4).zip(target).map(|(color, target)| color * target).collect(),
                _ => {
                    let (i, j) = PAIRS[plane - 7];
                    photo.iter().map(|color| color[i] * color[j]).collect()
                }
            };
            means(&values, width, radius)
        })
        .collect();
    let fit = |index: usize| {
        let at = |plane: usize| planes[plane][index];
        let covariance = |i: usize| at(4 + i) - at(i) * at(3);
        let mut variance = [[0.0; 3]; 3];
        for (plane, (i, j)) in PAIRS.into_iter().enumerate() {
            variance[i][j] = at(7 + plane) - at(i) * at(j) + if i == j { SMOOTHNESS } else { 0.0 };
            variance[j][i] = variance[i][j];
        }
        let slope = solve(variance, [0, 1, 2].map(covariance));
        let offset = at(3) - (0..3).map(|i| slope[i] * at(i)).sum::<f32>();
        (slope, offset)
    };
    let fits: Vec<([f32; 3], f32)> = (0..photo.len()).into_par_iter().map(fit).collect();
    let plane = |plane: usize| {
        let value = |(slope, offset): &([f32; 3], f32)| if plane < 3 { slope[plane] } else { *offset };
        means(&fits.iter().map(value).collect::<Vec<_>>(), width, radius)
    };
    let planes: Vec<Vec<f32>> = (0..4).into_par_iter().map(plane).collect();
    (0..photo.len()).map(|i| ([planes[0][i], planes[1][i], planes[2][i]], planes[3][i])).collect()
}

/// Solves a symmetric, positive definite system by Cramer's rule.
fn solve(m: [[f32; 3]; 3], v: [f32; 3]) -> [f32; 3] {
    let cofactor = |i: usize, j: usize| {
        let [a, b] = [(i + 1) % 3, (i + 2) % 3];
        let [c, d] = [(j + 1) % 3, (j + 2) % 3];
        m[a][c] * m[b][d] - m[a][d] * m[b][c]
    };
    let determinant = (0..3).map(|j| m[0][j] * cofactor(0, j)).sum::<f32>();
    std::array::from_fn(|i| (0..3).map(|j| cofactor(i, j) * v[j]).sum::<f32>() / determinant)
}

/// The mean of the values in a square around each place, as far as it lies in the picture.
fn means(values: &[f32], width: usize, radius: usize) -> Vec<f32> {
    let height = values.len() / width;
    let window = |at: usize, most: usize| (at.saturating_sub(radius), (at + radius + 1).min(most));
    let mut across = Vec::with_capacity(values.len());
    let mut sums = vec![0.0f64; width + 1];
    for row in values.chunks_exact(width) {
        (0..width).for_each(|x| sums[x + 1] = sums[x] + f64::from(row[x]));
        across.extend((0..width).map(|x| {
            let (from, to) = window(x, width);
            (sums[to] - sums[from]) / (to - from) as f64
        }));
    }
    let mut result = Vec::with_capacity(values.len());
    let mut sums = vec![0.0; width];
    let (mut first, mut next) = (0, 0);
    for y in 0..height {
        let (from, to) = window(y, height);
        for row in across[next * width..to * width].chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        for row in across[first * width..from * width].chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum -= value);
        }
        (first, next) = (from, to);
        result.extend(sums.iter().map(|sum| (sum / (to - from) as f64) as f32));
    }
    result
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn means_are_those_of_the_square_around() {
        let (width, height, radius) = (7, 5, 2);
        let values: Vec<f32> = (0..width * height).map(|i| ((i * 37) % 11) as f32).collect();
        let means = means(&values, width, radius);
        for y in 0..height {
            for x in 0..width {
                let near = |a: usize, b: usize| a.abs_diff(b) <= radius;
                let square: Vec<f32> =
                    (0..values.len()).filter(|i| near(i % width, x) && near(i / width, y)).map(|i| values[i]).collect();
                let expected = square.iter().sum::<f32>() / square.len() as f32;
                assert!((means[y * width + x] - expected).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn systems_are_solved() {
        let solution = solve([[4.0, 1.0, 0.5], [1.0, 3.0, 0.25], [0.5, 0.25, 2.0]], [7.5, 7.75, 7.0]);
        assert!(solution.iter().zip([1.0, 2.0, 3.0]).all(|(a, b)| (a - b).abs() < 1e-5), "{solution:?}");
    }

    /// An image whose columns have the colours of `column`, and a network that finds the class to the left of `edge`.
    fn matte(column: fn(u32) -> [u8; 3], edge: f32) -> impl Fn(u32) -> [u8; 4] {
        let image = RgbImage::from_fn(384, 288, |x, _| Rgb(column(x)));
        let probability: Vec<f32> =
            (0..384 * 288).map(|i| 1.0 / (1.0 + (((i % 384) as f32 - edge) / 2.0).exp())).collect();
        let matte = Matte::new(&image, &probability);
        move |x| matte.places[100 * 384 + x as usize].cut(column(x))
    }

    const FRONT: [u8; 3] = [200, 40, 40];
    const BEHIND: [u8; 3] = [30, 120, 60];

    #[test]
    fn the_edge_is_the_photographs_where_that_has_one() {
        let at = matte(|x| if x < 192 { FRONT } else { BEHIND }, 190.0);
        assert_eq!((at(20), at(180), at(204), at(300)), ([200, 40, 40, 255], [200, 40, 40, 255], [0; 4], [0; 4]));
        assert!(at(191)[3] > 200 && at(192)[3] < 55, "{:?} {:?}", at(191), at(192));
    }

    #[test]
    fn the_background_does_not_shine_through() {
        // The six columns between are half of each colour: half-opaque foreground.
        let column = |x: u32| match x {
            ..189 => FRONT,
            189..195 => [115, 80, 50],
            _ => BEHIND,
        };
        let at = matte(column, 192.0);
        for x in 190..194 {
            let [red, green, _, alpha] = at(x);
            assert!((40..215).contains(&alpha), "{x}: {alpha}");
            assert!(red > 160 && green < 75, "{x}: {red} {green}");
        }
    }

    #[test]
    fn all_or_nothing_needs_no_edge() {
        let image = RgbImage::from_pixel(30, 20, Rgb([1, 2, 3]));
        for (probability, expected) in [(0.9, [1, 2, 3, 255]), (0.1, [0; 4])] {
            let matte = Matte::new(&image, &vec![probability; 600]);
            assert!(matte.places.iter().all(|place| place.cut([1, 2, 3]) == expected));
        }
    }

    #[test]
    fn a_matte_is_no_larger_than_it_need_be() {
        assert_eq!(size_for(300, 200), (300, 200));
        assert_eq!(size_for(4000, 3000), (384, 288));
        assert_eq!(size_for(100_000, 1), (384, 1));
    }
}
