//! Finds the lines along which the regions of a label map meet.

use rayon::prelude::*;

/// A line between two regions, in pixels from the image's upper left corner.
pub(super) struct Border {
    /// Neighbours are about a pixel apart. The first point of a ring is not repeated at the end.
    pub(super) points: Vec<[f32; 2]>,
    /// Whether the line is a ring. Others end where three or more regions meet, or at the image's edge.
    pub(super) closed: bool,
}

/// The borders of a label map, each once, whatever is on its two sides. The image's edge is not a border.
///
/// They run through the midpoints of the pixels' edges and are smoothed, so that slanted borders have no steps. `group`
/// maps ids that count as one region to the same value. If borders pass through more than `most` corners of pixels,
/// none are returned: nobody could follow the borders of noise.
pub(super) fn borders(ids: &[u8], width: usize, group: &[u8; 256], most: usize) -> Vec<Border> {
    let mut corners = Corners::of(ids, width, group);
    if corners.exits.par_iter().filter(|exits| **exits != 0).count() > most {
        return vec![];
    }
    let met = corners.met();
    let mut borders = vec![];
    // Lines between two ends are first, so that only rings remain.
    for ends in [true, false] {
        for &index in &met {
            while corners.exits[index] & EXITS != 0 && (!ends || corners.is_end(index)) {
                borders.push(corners.walk(index));
            }
        }
    }
    borders.par_iter_mut().for_each(Border::smooth);
    borders
}

/// The bits for borders that leave a corner to the right, down, left and up.
const EXITS: u8 = 0b1111;
/// The bit for corners at which lines end: not exactly two borders meet there.
const END: u8 = 0b1_0000;

/// The corners of pixels, and how borders leave them: a bit for each exit.
struct Corners {
    exits: Vec<u8>,
    /// The number of corners in a row.
    stride: usize,
}

impl Corners {
    fn of(ids: &[u8], width: usize, group: &[u8; 256]) -> Self {
        let stride = width + 1;
        let rows: Vec<&[u8]> = ids.chunks_exact(width).collect();
        let mut exits = vec![0u8; stride * (rows.len() + 1)];
        let differ = |a: u8, b: u8| a != b && group[usize::from(a)] != group[usize::from(b)];
        exits.par_chunks_exact_mut(stride).enumerate().for_each(|(y, exits)| {
            let (above, below) = (y.checked_sub(1).map(|y| rows[y]), rows.get(y).copied());
            if let (Some(above), Some(below)) = (above, below) {
                each_difference(above, below, |x| {
                    if differ(above[x], below[x]) {
                        exits[x] |= 1;
                        exits[x + 1] |= 1 << 2;
                    }
                });
            }
            for (row, bit) in [(below, 1 << 1), (above, 1 << 3)] {
                let Some(row) = row else { continue };
                each_difference(row, &row[1..], |x| {
                    if differ(row[x], row[x + 1]) {
                        exits[x + 1] |= bit;
                    }
                });
            }
            for exits in exits.iter_mut().filter(|exits| **exits != 0) {
                if exits.count_ones() != 2 {
                    *exits |= END;
                }
            }
        });
        Self { exits, stride }
    }

    /// The corners that borders meet, row by row.
    fn met(&self) -> Vec<usize> {
        let met = |(y, exits): (usize, &[u8])| {
            let mut met = vec![];
            each_difference(exits, &vec![0; self.stride], |x| met.push(y * self.stride + x));
            met
        };
        self.exits.par_chunks_exact(self.stride).enumerate().flat_map_iter(met).collect()
    }

    fn is_end(&self, index: usize) -> bool {
        self.exits[index] & END != 0
    }

    /// Follows a border from a corner to its end, and removes it.
    fn walk(&mut self, start: usize) -> Border {
        let position = |index: usize| [(index % self.stride) as f32, (index / self.stride) as f32];
        let closed = !self.is_end(start);
        let mut points = if closed { vec![] } else { vec![position(start)] };
        let mut at = start;
        loop {
            let exit = (self.exits[at] & EXITS).trailing_zeros();
            let [x, y] = position(at);
            let (next, middle) = match exit {
                0 => (at + 1, [x + 0.5, y]),
                1 => (at + self.stride, [x, y + 0.5]),
                2 => (at - 1, [x - 0.5, y]),
                _ => (at - self.stride, [x, y - 0.5]),
            };
            self.exits[at] &= !(1 << exit);
            self.exits[next] &= !(1 << ((exit + 2) % 4));
            points.push(middle);
            at = next;
            if self.is_end(at) {
                points.push(position(at));
                break;
            }
            if self.exits[at] & EXITS == 0 {
                break;
            }
        }
        Border { points, closed }
    }
}

/// Calls `found` where two rows differ, up to the end of the shorter one. Most of a label map is skipped 16 pixels at a
/// time.
fn each_difference(a: &[u8], b: &[u8], mut found: impl FnMut(usize)) {
    let (a_blocks, a_rest) = a[..a.len().min(b.len())].as_chunks::<16>();
    let (b_blocks, b_rest) = b[..a.len().min(b.len())].as_chunks::<16>();
    let mut each = |from: usize, a: &[u8], b: &[u8]| {
        (from..).zip(a.iter().zip(b)).filter(|(_, (a, b))| a != b).for_each(|(x, _)| found(x));
    };
    for (block, (a, b)) in a_blocks.iter().zip(b_blocks).enumerate().filter(|(_, (a, b))| a != b) {
        each(16 * block, a, b);
    }
    each(16 * a_blocks.len(), a_rest, b_rest);
}

impl Border {
    /// Smooths with a Gaussian over neighbours. Ends stay where they are.
    fn smooth(&mut self) {
        /// The weights of a point and its neighbours to each side, for a standard deviation of 2 points.
        const WEIGHTS: [f32; 6] = [0.2042, 0.1802, 0.1238, 0.0663, 0.0276, 0.0];
        let count = self.points.len() as isize;
        let total = WEIGHTS[0] + 2.0 * WEIGHTS[1..].iter().sum::<f32>();
        let at = |index: isize| -> [f32; 2] {
            let point = |index: isize| self.points[index as usize];
            if self.closed {
                return point(index.rem_euclid(count));
            }
            // Beyond an end, the line continues as its own point reflection about the end.
            let end = if index < 0 { 0 } else { count - 1 };
            if (0..count).contains(&index) {
                return point(index);
            }
            let mirrored = point((2 * end - index).clamp(0, count - 1));
            std::array::from_fn(|axis| 2.0 * point(end)[axis] - mirrored[axis])
        };
        let smoothed = (0..count).map(|index| {
            let mut sum = self.points[index as usize].map(|value| value * WEIGHTS[0]);
            for (distance, weight) in (1..).zip(&WEIGHTS[1..]) {
                let (before, after) = (at(index - distance), at(index + distance));
                (0..2).for_each(|axis| sum[axis] += weight * (before[axis] + after[axis]));
            }
            sum.map(|value| value / total)
        });
        self.points = smoothed.collect();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EACH: [u8; 256] = {
        let mut group = [0; 256];
        let mut id = 0;
        while id < 256 {
            group[id] = id as u8;
            id += 1;
        }
        group
    };

    #[test]
    fn a_border_from_edge_to_edge_is_a_line_with_two_ends() {
        let borders = borders(&[0, 0, 1, 1].repeat(5), 4, &EACH, 99);
        assert_eq!(borders.len(), 1);
        let Border { points, closed } = &borders[0];
        assert!(!closed && points.iter().all(|point| (point[0] - 2.0).abs() < 1e-4), "{points:?}");
        assert_eq!((points[0], points[points.len() - 1]), ([2.0, 0.0], [2.0, 5.0]));
    }

    #[test]
    fn a_region_within_another_has_a_ring_and_a_group_none() {
        let mut ids = vec![0; 100];
        ids[33..37].fill(1);
        ids[43..47].fill(2);
        let rings =
            |group: &[u8; 256]| borders(&ids, 10, group, 99).iter().map(|border| border.closed).collect::<Vec<_>>();
        assert_eq!(rings(&EACH), [false; 3]);
        let mut together = EACH;
        together[2] = 1;
        assert_eq!(rings(&together), [true]);
        assert_eq!(rings(&[7; 256]), [false; 0]);
    }

    #[test]
    fn a_slanted_border_is_no_stairs() {
        // A slope of one pixel for three to the right.
        let ids: Vec<u8> = (0..60 * 60).map(|i| u8::from(i / 60 > 10 + i % 60 / 3)).collect();
        let borders = borders(&ids, 60, &EACH, 999);
        assert_eq!(borders.len(), 1);
        let points = &borders[0].points;
        let above = |point: &[f32; 2]| 10.0 + point[0] / 3.0 + 0.5 - point[1];
        let offsets: Vec<f32> = points[8..points.len() - 8].iter().map(above).collect();
        let [least, most] = [f32::min, f32::max].map(|pick| offsets.iter().copied().reduce(pick).unwrap());
        assert!(most - least < 0.35, "{least} to {most}, where stairs are 2/3 apart");
    }

    #[test]
    fn noise_has_no_borders() {
        let ids: Vec<u8> = (0..400).map(|i| (i % 2) as u8).collect();
        assert_eq!(borders(&ids, 20, &EACH, 300).len(), 0);
        assert!(!borders(&ids, 20, &EACH, 441).is_empty());
    }

    proptest! {
        /// Each edge between two pixels that differ is a point of exactly one border.
        #[test]
        fn every_border_is_there_once(
            width in 1usize..40,
            height in 1usize..12,
            seed in proptest::collection::vec(0u8..3, 480),
        ) {
            let ids = &seed[..width * height];
            let across = (0..ids.len()).filter(|i| i % width > 0 && ids[*i] != ids[i - 1]).count();
            let down = (width..ids.len()).filter(|i| ids[*i] != ids[i - width]).count();
            let points = |border: &Border| border.points.len() - if border.closed { 0 } else { 2 };
            prop_assert_eq!(borders(ids, width, &EACH, usize::MAX).iter().map(points).sum::<usize>(), across + down);
        }
    }
}
