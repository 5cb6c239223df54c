//! Runs steps band by band: every step computes some of its rows before the first step goes on to its next rows.
//!
//! The maps at the beginning and at the end of a network are larger than the last-level cache, and their layers do
//! little work per value. What one step of a band writes is still in the cache when the next step reads it. And where
//! only steps of the band need a map, only one band's rows of it are in memory, plus the rows that the next band reads
//! again.

use std::ops::{Range, RangeInclusive};

use super::geometry::Geometry;
use crate::exec::fuse::{Fused, Operation, Step};

/// Limits that decide which steps run band by band.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The size in floats beyond which a map does not stay in the last-level cache until the next step.
    pub(super) large: usize,
    /// How many floats the maps of a band may have: a share of that cache.
    pub(super) floats: usize,
    /// How many rows of the last step a band must have: fewer give many threads too little work, and most of the rows
    /// that they read are those of the band before.
    pub(super) rows: usize,
    /// How many weights a step may have: every band reads them again.
    pub(super) weights: usize,
}

/// The most steps of a stretch: trying how many fit takes time, too.
const MAX_STEPS: usize = 16;
/// The number of threads beyond which bands do not grow.
const MAX_THREADS: usize = 8;

impl Limits {
    /// Limits for the current pool: the last-level cache grows with the number of cores.
    pub(super) fn usual() -> Self {
        let threads = rayon::current_num_threads().clamp(2, MAX_THREADS);
        Self { large: 2 << 20, floats: threads << 20, rows: 4, weights: 96 << 10 }
    }
}

/// Neighbouring steps that run together.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) steps: Range<usize>,
    /// The bands of each image, from top to bottom. Without bands, each step computes all rows of all images at once.
    pub(super) bands: Vec<Band>,
}

#[derive(Debug)]
pub(super) struct Band {
    /// For each map between the steps, the rows that are in memory and that this band reads again.
    pub(super) kept: Vec<(usize, Range<usize>)>,
    /// The rows that each step computes.
    pub(super) rows: Vec<Range<usize>>,
}

/// Bands, and for each map between their steps, how many rows of it have to be in memory.
type Banded = (Vec<Band>, Vec<(usize, usize)>);

/// The number and size of a map's rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    pub(super) count: usize,
    /// Floats of a row.
    pub(super) line: usize,
}

/// Cuts a network into stretches. The wanted maps are complete at the end.
///
/// The second result says, for each map that is never in memory as a whole, how many of its rows have to be.
pub(super) fn stretches(
    fused: &Fused,
    geometry: &[Geometry],
    maps: &[Rows],
    limits: Limits,
    wanted: &[usize],
) -> (Vec<Stretch>, Vec<Option<usize>>) {
    let mut in_memory = vec![None; maps.len()];
    let mut stretches = Vec::new();
    let (lives, suits) =
        (fused.lives(wanted), fused.steps.iter().map(|step| suits(step, maps, limits)).collect::<Vec<_>>());
    let mut start = 0;
    while start < suits.len() {
        let most = suits[start..].iter().take(MAX_STEPS).take_while(|suits| **suits).count();
        // Take as many steps as fit.
        let ends = (start + 2..start + most + 1).rev();
        let banded = ends.map(|end| start..end).find_map(|steps| {
            let (bands, rows) = Banding::new(fused, geometry, maps, &lives, steps.clone())?.bands(limits)?;
            rows.into_iter().for_each(|(map, rows)| in_memory[map] = Some(rows));
            Some(Stretch { steps, bands })
        });
        let stretch = banded.unwrap_or(Stretch { steps: start..start + 1, bands: Vec::new() });
        start = stretch.steps.end;
        stretches.push(stretch);
    }
    (stretches, in_memory)
}

/// Whether a step gains from maps that are still in the cache, and can compute its result some rows at a time.
fn suits(step: &Step, maps: &[Rows], limits: Limits) -> bool {
    let weights = match &step.operation {
        Operation::Conv { conv, .. } => conv.weights(),
        Operation::Multiply | Operation::GlobalPool => return false,
        _ => 0,
    };
    let large = |map: usize| maps[map].count * maps[map].line > limits.large;
    weights <= limits.weights && (large(step.input.map) || large(step.output.map))
}

/// Steps that are to run band by band.
struct Banding<'a> {
    fused: &'a Fused,
    geometry: &'a [Geometry],
    maps: &'a [Rows],
    steps: Range<usize>,
    /// The maps that only these steps write and read.
    between: Vec<usize>,
}

impl<'a> Banding<'a> {
    /// Returns `None` if no map lies between the steps.
    fn new(
        fused: &'a Fused,
        geometry: &'a [Geometry],
        maps: &'a [Rows],
        lives: &[RangeInclusive<usize>],
        steps: Range<usize>,
    ) -> Option<Self> {
        let mut between: Vec<usize> = fused.steps[steps.clone()].iter().map(|step| step.output.map).collect();
        between.sort_unstable();
        between.dedup();
        between.retain(|map| steps.contains(lives[*map].start()) && steps.contains(lives[*map].end()));
        (!between.is_empty()).then_some(Self { fused, geometry, maps, steps, between })
    }

    /// The fewest bands whose maps fit: their rows are the minimum, or twice, four times, … as many.
    fn bands(&self, limits: Limits) -> Option<Banded> {
        let mut rows = limits.rows;
        let mut best = self.bands_of(rows, limits.floats)?;
        while let Some(fewer) = self.bands_of(2 * rows, limits.floats) {
            (rows, best) = (2 * rows, fewer);
        }
        Some(best)
    }

    /// Bands with `rows` rows of the last step; `None` where their maps have more than `floats` floats, or where there
    /// would be only one band.
    fn bands_of(&self, rows: usize, floats: usize) -> Option<Banded> {
        let mut in_memory = vec![0; self.between.len()];
        let mut bands = Vec::new();
        let mut done = vec![0; self.steps.len()];
        loop {
            let ends = self.ends(&done, rows);
            let kept = self.between.iter().map(|map| (*map, self.kept(*map, &done))).collect::<Vec<_>>();
            for (in_memory, (map, kept)) in in_memory.iter_mut().zip(&kept) {
                *in_memory = (*in_memory).max(self.end(*map, &ends) - kept.start);
            }
            if self.between.iter().zip(&in_memory).map(|(map, rows)| rows * self.maps[*map].line).sum::<usize>()
                > floats
            {
                return None;
            }
            let rows = done.iter().zip(&ends).map(|(done, end)| *done..*end).collect();
            bands.push(Band { kept, rows });
            if ends == self.heights() {
                let in_memory = self.between.iter().copied().zip(in_memory).collect();
                return (bands.len() > 1).then_some((bands, in_memory));
            }
            done = ends;
        }
    }

    fn heights(&self) -> Vec<usize> {
        self.steps.clone().map(|step| self.height(step)).collect()
    }

    /// Rows of a step's result.
    fn height(&self, step: usize) -> usize {
        self.maps[self.fused.steps[step].output.map].count
    }

    /// The row up to which each step has to compute, so that the last one can compute its next `rows` rows.
    fn ends(&self, done: &[usize], rows: usize) -> Vec<usize> {
        let mut ends = done.to_vec();
        let last = ends.len() - 1;
        let height = self.height(self.steps.end - 1);
        ends[last] = (done[last] + rows).min(height);
        if ends[last] == height {
            return self.heights();
        }
        for step in self.steps.clone().rev().skip(1) {
            let output = self.fused.steps[step].output.map;
            let later = step + 1..self.steps.end;
            let seen = later.filter_map(|user| Some(self.sees(user, output, 0..ends[user - self.steps.start])?.end));
            // A result that no later step of the stretch reads keeps pace with the last step.
            let end = seen.max().unwrap_or(self.height(step) * ends[last] / height);
            let (end, done) = (end.max(done[step - self.steps.start]), done[step - self.steps.start]);
            ends[step - self.steps.start] = match self.geometry[step] {
                Geometry::Winograd((vertical, _), span) => {
                    let rows = (end - done).next_multiple_of((span - 2) * vertical.dilation);
                    (done + rows).min(self.height(step))
                }
                _ => end,
            };
        }
        ends
    }

    /// The rows of a map that a step reads to compute some rows of its result; `None` if the step does not read the
    /// map.
    fn sees(&self, step: usize, map: usize, rows: Range<usize>) -> Option<Range<usize>> {
        let Step { input, other, .. } = &self.fused.steps[step];
        let other = other.filter(|other| other.map == map).map(|_| rows.clone());
        let input = (input.map == map).then(|| match &self.geometry[step] {
            Geometry::Pointwise => rows,
            Geometry::Windows((vertical, _)) | Geometry::Winograd((vertical, _), _) => {
                vertical.sees(self.maps[map].count, rows)
            }
            Geometry::Resize((vertical, _)) => vertical.sees(rows),
        });
        match (input, other) {
            (Some(a), Some(b)) => Some(a.start.min(b.start)..a.end.max(b.end)),
            (a, b) => a.or(b),
        }
    }

    /// The rows of a map that the next band reads again, when each step has computed the rows before `done`.
    fn kept(&self, map: usize, done: &[usize]) -> Range<usize> {
        let end = self.end(map, done);
        let rest = |step: usize| done[step - self.steps.start]..self.height(step);
        let seen = self.steps.clone().filter(|step| !rest(*step).is_empty());
        let start = seen.filter_map(|step| Some(self.sees(step, map, rest(step))?.start)).min();
        start.unwrap_or(end).min(end)..end
    }

    /// How many rows of a map are computed, when each step has computed the rows before `done`.
    fn end(&self, map: usize, done: &[usize]) -> usize {
        let writers = self.fused.steps[self.steps.clone()].iter().zip(done).filter(|(step, _)| step.output.map == map);
        writers.map(|(_, done)| *done).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::choice::{Isa, Precision};
    use crate::exec::cpu::isa::Kernels;
    use crate::exec::cpu::pack::Program;
    use crate::exec::cpu::plan::Plan;
    use crate::exec::fold::reader;
    use crate::graph::{Builder, Conv, Graph, Normalization, Param};
    use crate::weights::Values;

    const LIMITS: Limits = Limits { large: 1000, floats: 4000, rows: 2, weights: usize::MAX };

    /// Three layers, of which the second halves the map, and a skip over the third.
    fn network() -> Graph {
        let (mut g, image) = Builder::new(3, Normalization::BatchNorm);
        let x = g.conv("first", image, Conv::dense(8, 3));
        let x = g.conv("second", x, Conv::dense(8, 3).stride(2));
        let y = g.conv("third", x, Conv::dense(8, 3).dilation(2));
        let x = g.add(y, x);
        let logits = g.conv("logits", x, Conv::pointwise(5).with_bias());
        let output = g.resize(logits, image, true);
        g.finish(output).unwrap()
    }

    fn plan(height: usize) -> (Program, Plan) {
        let graph = network();
        let kernels = Kernels::new(Isa::Portable, Precision::F32).unwrap();
        let values = |param: &Param| Ok(Values::Here(vec![0.0; param.shape.iter().product()]));
        let program = Program::new(&graph, kernels, Precision::F32, &reader(&graph, values)).unwrap();
        let plan = Plan::new(&program, &graph, [2, height, 30], LIMITS, &[program.fused.logits.map]).unwrap();
        (program, plan)
    }

    #[test]
    fn bands_compute_each_row_once_and_in_order() {
        let (program, plan) = plan(101);
        let [Stretch { steps, bands }] = &plan.stretches[..] else { panic!("{:?}", plan.stretches) };
        assert!(*steps == (0..program.fused.steps.len()) && bands.len() > 2);
        for (index, step) in program.fused.steps.iter().enumerate() {
            let mut done = 0;
            for band in bands {
                assert_eq!(band.rows[index].start, done);
                done = band.rows[index].end;
            }
            assert_eq!(done, plan.maps[step.output.map].size.height);
        }
    }

    #[test]
    fn memory_does_not_grow_with_the_height_where_steps_run_band_by_band() {
        // All maps but the input and the logits.
        let between = |height| {
            let (program, plan) = plan(height);
            (1..plan.maps.len()).filter(|map| *map != program.fused.logits.map).map(|map| plan.maps[map].rows).collect()
        };
        let (low, high): (Vec<usize>, Vec<usize>) = (between(100), between(1000));
        assert_eq!(low.len(), 3);
        assert!(low.iter().chain(&high).all(|rows| *rows < 30), "{low:?}, {high:?}");
    }

    #[test]
    fn steps_with_small_maps_or_many_weights_compute_them_at_once() {
        let (program, plan) = plan(101);
        let maps: Vec<Rows> = plan.maps.iter().map(|m| Rows { count: m.size.height, line: m.line() }).collect();
        for limits in [Limits { large: 1 << 20, ..LIMITS }, Limits { weights: 10, ..LIMITS }] {
            let (stretches, in_memory) = stretches(&program.fused, &plan.steps, &maps, limits, &[]);
            assert!(stretches.iter().all(|stretch| stretch.bands.is_empty()), "{stretches:?}");
            assert!(in_memory.iter().all(Option::is_none));
        }
    }
}
