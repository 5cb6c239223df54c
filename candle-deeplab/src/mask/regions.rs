//! Traces the exact outlines of a label map's regions.
//!
//! Rings run along the edges between pixels, so their area is the number of pixels, and drawing them gives the same map
//! back; nothing is smoothed. Pixels that touch only at a corner belong to different regions (4-connectivity). This
//! makes every polygon simple and connected, as the OGC's simple features and RFC 7946 require.

use std::collections::HashMap;

use crate::segment::LabelMap;

/// A connected region of one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// The class id.
    pub class: u8,
    /// The number of pixels, which is the polygon's area.
    pub pixels: u64,
    /// Its outline.
    pub polygon: Polygon,
}

/// A polygon with holes, in pixel coordinates: x to the right, y **down**, and (0, 0) is the upper left corner of the
/// upper left pixel, so that pixel (x, y) is the square from (x, y) to (x + 1, y + 1).
///
/// A ring has a point at each of its corners, and the first is not repeated at the end. Computed with these
/// coordinates, the area of the outer ring is positive and that of a hole negative (RFC 7946's right-hand rule); since
/// y points down, the outer ring appears to run clockwise. Rings may touch each other in points, but never themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polygon {
    /// The outer ring.
    pub exterior: Ring,
    /// The holes in it.
    pub holes: Vec<Ring>,
}

/// Corners of a closed line, each `[x, y]`.
pub type Ring = Vec<[u32; 2]>;

impl LabelMap {
    /// The connected regions of all classes and of ignored pixels, in the order of their first pixels, row by row.
    /// Together they cover the image, each pixel once.
    pub fn regions(&self) -> Vec<Region> {
        let components = Components::of(self.ids(), self.size().width.max(1));
        let mut regions: Vec<Option<Region>> = vec![None; components.sizes.len()];
        let mut orphans: Vec<(usize, Ring)> = vec![];
        let mut traced = vec![false; self.ids().len()];
        let mut tracer = Tracer { components: &components, traced: &mut traced };
        for (index, &id) in self.ids().iter().enumerate() {
            let (x, y) = (index % components.width, index / components.width);
            let component = components.of[index];
            // Every ring runs to the right along the upper edge of some pixel.
            if tracer.traced[index] || components.at(x as i64, y as i64 - 1) == Some(component) {
                continue;
            }
            for ring in tracer.trace(x as u32, y as u32, component) {
                let component = component as usize;
                match (&mut regions[component], area(&ring) > 0) {
                    (slot @ None, true) => {
                        let pixels = components.sizes[component];
                        let polygon = Polygon { exterior: ring, holes: vec![] };
                        *slot = Some(Region { class: id, pixels, polygon });
                    }
                    (Some(region), _) => region.polygon.holes.push(ring),
                    // A hole that touches the outer ring is split off before that ring is complete.
                    (None, false) => orphans.push((component, ring)),
                }
            }
        }
        for (component, ring) in orphans {
            if let Some(region) = &mut regions[component] {
                region.polygon.holes.push(ring);
            }
        }
        regions.into_iter().flatten().collect()
    }
}

/// Twice the signed area of a ring (the shoelace formula).
fn area(ring: &Ring) -> i64 {
    let [mut x0, mut y0] = ring.last().copied().unwrap_or_default().map(i64::from);
    let mut sum = 0;
    for [x, y] in ring.iter().map(|point| point.map(i64::from)) {
        sum += x0 * y - x * y0;
        (x0, y0) = (x, y);
    }
    sum
}

/// The 4-connected component of each pixel; components are numbered in the order of their first pixels.
pub(super) struct Components {
    pub(super) width: usize,
    height: usize,
    pub(super) of: Vec<u32>,
    pub(super) sizes: Vec<u64>,
}

impl Components {
    /// Works in two passes: pixels are joined to those on the left and above (union-find), then the roots are numbered.
    /// A root is the smallest of its provisional labels, so it comes first.
    pub(super) fn of(ids: &[u8], width: usize) -> Self {
        let mut parents: Vec<u32> = vec![];
        let mut of = vec![0u32; ids.len()];
        for (index, &id) in ids.iter().enumerate() {
            let left = (index % width > 0 && ids[index - 1] == id).then(|| of[index - 1]);
            let above = (index >= width && ids[index - width] == id).then(|| of[index - width]);
            of[index] = match (left, above) {
                (Some(left), Some(above)) => join(&mut parents, left, above),
                (Some(label), None) | (None, Some(label)) => label,
                (None, None) => {
                    let label = parents.len() as u32;
                    parents.push(label);
                    label
                }
            };
        }
        let mut sizes = vec![];
        let mut numbers = vec![0u32; parents.len()];
        for label in 0..parents.len() as u32 {
            let root = find(&mut parents, label);
            if root == label {
                numbers[label as usize] = sizes.len() as u32;
                sizes.push(0);
            } else {
                numbers[label as usize] = numbers[root as usize];
            }
        }
        for label in &mut of {
            *label = numbers[*label as usize];
            sizes[*label as usize] += 1;
        }
        Self { width, height: ids.len() / width, of, sizes }
    }

    /// `None` outside the image.
    fn at(&self, x: i64, y: i64) -> Option<u32> {
        let inside = (0..self.width as i64).contains(&x) && (0..self.height as i64).contains(&y);
        inside.then(|| self.of[y as usize * self.width + x as usize])
    }
}

fn find(parents: &mut [u32], mut label: u32) -> u32 {
    while parents[label as usize] != label {
        let grandparent = parents[parents[label as usize] as usize];
        parents[label as usize] = grandparent;
        label = grandparent;
    }
    label
}

fn join(parents: &mut [u32], a: u32, b: u32) -> u32 {
    let (a, b) = (find(parents, a), find(parents, b));
    let (first, second) = (a.min(b), a.max(b));
    parents[second as usize] = first;
    first
}

/// Walks around components, keeping the component on the right.
struct Tracer<'a> {
    components: &'a Components,
    /// The pixels whose upper edge has been walked along.
    traced: &'a mut [bool],
}

/// For right, down, left and up: a step, and the offsets from a corner to the pixels ahead of it on the right and on
/// the left.
const DIRECTIONS: [[(i64, i64); 3]; 4] =
    [[(1, 0), (0, 0), (0, -1)], [(0, 1), (-1, 0), (0, 0)], [(-1, 0), (-1, -1), (-1, 0)], [(0, -1), (0, -1), (-1, -1)]];

impl Tracer<'_> {
    /// The simple rings of the walk that begins along the upper edge of a pixel. A walk that reaches a corner twice is
    /// split there.
    fn trace(&mut self, x: u32, y: u32, component: u32) -> Vec<Ring> {
        let start = (i64::from(x), i64::from(y));
        let (mut at, mut direction) = (start, 0);
        let (mut rings, mut path) = (vec![], Ring::new());
        // The corners where two of the component's pixels meet diagonally, and where in the path they are.
        let mut pinches: HashMap<(i64, i64), usize> = HashMap::new();
        loop {
            if direction == 0 {
                self.traced[at.1 as usize * self.components.width + at.0 as usize] = true;
            }
            let [(dx, dy), ..] = DIRECTIONS[direction];
            at = (at.0 + dx, at.1 + dy);
            let ahead = |(dx, dy): (i64, i64)| self.components.at(at.0 + dx, at.1 + dy) == Some(component);
            let [_, right, left] = DIRECTIONS[direction];
            let (right, left) = (ahead(right), ahead(left));
            if right && !left {
                continue;
            }
            // Turning right, even where the pixel on the left belongs to the component, keeps to one side of a
            // diagonal.
            let pinch = !right && left;
            direction = (direction + if right { 3 } else { 1 }) % 4;
            if pinch {
                match pinches.remove(&at) {
                    Some(begin) => {
                        rings.push(path.split_off(begin));
                        pinches.retain(|_, index| *index < begin);
                    }
                    None => {
                        pinches.insert(at, path.len());
                    }
                }
            }
            path.push([at.0 as u32, at.1 as u32]);
            if at == start && direction == 0 {
                rings.push(path);
                return rings;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::graph::Size;

    fn map(rows: &[&str]) -> LabelMap {
        let ids = rows.concat().bytes().map(|digit| digit - b'0').collect();
        LabelMap::new(ids, Size::new(rows.len(), rows[0].len())).unwrap()
    }

    fn regions_of(class: u8, rows: &[&str]) -> Vec<Region> {
        map(rows).regions().into_iter().filter(|region| region.class == class).collect()
    }

    /// Fills polygons by the even-odd rule at pixel centres: for each pixel, the classes that cover it.
    fn rasterize(regions: &[Region], width: usize, height: usize) -> Vec<Vec<u8>> {
        let mut covered = vec![vec![]; width * height];
        for region in regions {
            let rings = std::iter::once(&region.polygon.exterior).chain(&region.polygon.holes);
            let mut crossings = vec![vec![]; height];
            for ring in rings {
                for (a, b) in ring.iter().zip(ring.iter().cycle().skip(1)) {
                    assert!((a[0] == b[0]) != (a[1] == b[1]), "edges run along the axes: {a:?} {b:?}");
                    for row in a[1].min(b[1])..a[1].max(b[1]) {
                        crossings[row as usize].push(a[0] as usize);
                    }
                }
            }
            for (y, xs) in crossings.iter_mut().enumerate() {
                xs.sort_unstable();
                for pair in xs.chunks_exact(2) {
                    covered[y * width..][pair[0]..pair[1]].iter_mut().for_each(|pixel| pixel.push(region.class));
                }
            }
        }
        covered
    }

    #[test]
    fn a_pixel_is_a_square_that_runs_clockwise_as_seen() {
        let regions = regions_of(1, &["000", "010"]);
        assert_eq!(regions.len(), 1);
        assert_eq!(regions[0].pixels, 1);
        assert_eq!(regions[0].polygon, Polygon { exterior: vec![[2, 1], [2, 2], [1, 2], [1, 1]], holes: vec![] });
    }

    #[test]
    fn holes_run_the_other_way() {
        let regions = regions_of(1, &["1111", "1021", "1111"]);
        let polygon = &regions[0].polygon;
        assert_eq!((area(&polygon.exterior), polygon.holes.len()), (24, 1));
        assert_eq!(area(&polygon.holes[0]), -4);
        assert_eq!(regions[0].pixels, 10);
    }

    #[test]
    fn diagonal_neighbours_are_two_regions() {
        assert_eq!(regions_of(1, &["10", "01"]).len(), 2);
    }

    #[test]
    fn a_ring_that_closes_at_a_corner_is_cut_into_outline_and_hole() {
        for rows in [["111", "101", "110"], ["110", "101", "111"], ["011", "101", "111"], ["111", "101", "011"]] {
            let regions = regions_of(1, &rows);
            assert_eq!(regions.len(), 1, "{rows:?}");
            assert_eq!((regions[0].polygon.holes.len(), regions[0].pixels), (1, 7), "{rows:?}");
            assert_eq!(area(&regions[0].polygon.holes[0]), -2);
        }
    }

    /// Holes that meet at corners all around an island: if they were split, the island would belong to the mainland.
    #[test]
    fn an_island_in_a_diamond_of_holes_is_a_region_of_its_own() {
        let regions = regions_of(1, &["11111", "11011", "10101", "11011", "11111"]);
        assert_eq!(regions.iter().map(|region| region.pixels).collect::<Vec<_>>(), [20, 1]);
        assert_eq!(regions[0].polygon.holes.iter().map(area).collect::<Vec<_>>(), [-10]);
    }

    proptest! {
        #[test]
        fn regions_are_the_map(width in 1usize..14, height in 1usize..14, seed in proptest::collection::vec(0u8..3, 196)) {
            let ids: Vec<u8> = seed[..width * height].to_vec();
            let regions = LabelMap::new(ids.clone(), Size::new(height, width)).unwrap().regions();
            let expected: Vec<Vec<u8>> = ids.iter().map(|id| vec![*id]).collect();
            prop_assert_eq!(rasterize(&regions, width, height), expected);
            for region in &regions {
                let Polygon { exterior, holes } = &region.polygon;
                prop_assert!(area(exterior) > 0);
                prop_assert!(holes.iter().all(|hole| area(hole) < 0));
                let net = area(exterior) + holes.iter().map(area).sum::<i64>();
                prop_assert_eq!(net, 2 * region.pixels as i64);
                for ring in std::iter::once(exterior).chain(holes) {
                    let points: std::collections::HashSet<_> = ring.iter().collect();
                    prop_assert_eq!(points.len(), ring.len(), "a ring never touches itself");
                }
            }
        }
    }
}
