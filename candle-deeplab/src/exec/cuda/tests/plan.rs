//! Plans of real networks: how many launches they have, and how much memory they take.

use std::collections::BTreeMap;

use super::super::batch::largest_batch;
use super::super::ends::Source;
use super::super::pack::Program;
use super::super::plan::{Answer, Plan, Request};
use super::super::work::Work;
use crate::arch;
use crate::config::{Backbone, Config};
use crate::error::{Error, Result};
use crate::exec::choice::GpuPrecision;
use crate::exec::fold;
use crate::graph::{Graph, Param, Size};
use crate::weights::Values;

const MIB: usize = 1 << 20;

/// A network without weights worth the name.
struct Planned {
    graph: Graph,
    program: Program,
}

impl Planned {
    fn new(backbone: Backbone, precision: GpuPrecision) -> Self {
        let graph = arch::graph(&Config::deeplabv3plus(backbone, 21).network).unwrap();
        let zeros = |param: &Param| Ok(Values::Here(vec![0.0; param.shape.iter().product()]));
        let (program, _) = Program::new(&graph, precision, &fold::reader(&graph, zeros)).unwrap();
        Self { graph, program }
    }

    /// The plan from preprocessed pixels to classes.
    fn plan(&self, batch: usize, height: usize, width: usize) -> Result<Plan> {
        let input = Size::new(height, width);
        let answer = Answer::Labels { valid: input, image: input };
        Plan::new(&self.program, &self.graph, &Request { batch, input, source: Source::Planes, answer })
    }
}

/// The kinds of launches and their numbers.
fn kinds(plan: &Plan) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for work in plan.works() {
        let kind = match work {
            Work::Kernel(launch) => launch.kernel.split('_').next().unwrap_or_default().to_owned(),
            Work::Gemm(_) => "gemm".into(),
            Work::Clear { .. } => continue,
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

/// Eager candle takes 3756 launches for the same.
#[test]
fn xception_65_takes_at_most_160_launches() {
    let planned = Planned::new(Backbone::xception65(), GpuPrecision::Bf16);
    let plan = planned.plan(1, 513, 513).unwrap();
    assert!(plan.launches() <= 160, "{} launches: {:?}", plan.launches(), kinds(&plan));
    // 68 separable convolutions, and what has a matmul besides: the root, shortcuts, ASPP, decoder and classifier.
    assert_eq!((kinds(&plan)["depthwise"], kinds(&plan)["gemm"]), (68, 79));
    // Neither padding nor the arrangement costs much: the largest moments hold 44 MiB.
    assert!((40 * MIB..60 * MIB).contains(&plan.bytes), "{} MiB", plan.bytes / MIB);
    let wide = Planned::new(Backbone::xception65(), GpuPrecision::F32).plan(1, 513, 513).unwrap();
    assert!(wide.bytes > plan.bytes && wide.bytes < 2 * plan.bytes, "{} MiB", wide.bytes / MIB);
}

#[test]
fn memory_grows_with_the_batch_and_not_faster() {
    let planned = Planned::new(Backbone::xception65(), GpuPrecision::Bf16);
    let bytes = |batch: usize| planned.plan(batch, 513, 513).map(|plan| plan.bytes as u64);
    let (one, sixteen) = (bytes(1).unwrap(), bytes(16).unwrap());
    assert!(sixteen > 10 * one && sixteen <= 16 * one, "{one} and {sixteen}");
    // As many images at once as fit into memory, up to as many as there are.
    assert_eq!(largest_batch(16, sixteen, bytes).unwrap(), 16);
    assert_eq!(largest_batch(16, sixteen - 1, bytes).unwrap(), 15);
    assert_eq!(largest_batch(4, u64::MAX, bytes).unwrap(), 4);
    assert_eq!(largest_batch(16, one - 1, bytes).unwrap(), 0);
}

/// A photograph of 12 megapixels fits into a card of 16 GB, whole; 466 GB pass through eager candle.
#[test]
fn twelve_megapixels_fit_into_a_common_card() {
    let plan = Planned::new(Backbone::xception65(), GpuPrecision::Bf16).plan(1, 3000, 4000).unwrap();
    assert!(plan.bytes < 4096 * MIB, "{} MiB", plan.bytes / MIB);
}

#[test]
fn resnet_101_takes_no_more_than_a_launch_for_each_copy_and_each_matmul() {
    let plan = Planned::new(Backbone::resnet101_beta(), GpuPrecision::Bf16).plan(1, 513, 513).unwrap();
    assert!(plan.launches() < 200, "{} launches: {:?}", plan.launches(), kinds(&plan));
}

#[test]
fn an_input_that_kernels_cannot_count_is_an_error_with_a_way_out() {
    let planned = Planned::new(Backbone::mobilenet_v2(0.25), GpuPrecision::Bf16);
    let error = planned.plan(1, 60_000, 60_000).unwrap_err();
    assert!(matches!(&error, Error::Executor(reason) if reason.contains("tiles")), "{error}");
    let error = planned.plan(1, 70_000, 1).unwrap_err();
    assert!(matches!(error, Error::Graph { .. }), "{error}");
}
