//! Modified aligned Xception (Chen et al. 2018, figure 4): deeper than Chollet's, with strided separable convolutions
//! instead of max pooling and batch norm after each 3×3 depthwise convolution.

use serde::{Deserialize, Serialize};

use super::stride::{DilationStart, OutputStride};
use crate::config::Network;
use crate::graph::{Activation, Builder, Conv, Value};

/// The layout of an Xception: widths and strides of its blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Xception {
    /// Channels of the two 3×3 convolutions at the start; the first has stride 2.
    pub stem: [usize; 2],
    /// The entry flow's blocks; the last one's width is also the middle flow's.
    pub entry: Vec<EntryBlock>,
    /// Number of blocks in the middle flow (16; Xception-41 has 8).
    pub middle_blocks: u8,
    /// Channels of the separable convolutions in the two exit blocks.
    pub exit: [[usize; 3]; 2],
    /// Whether a unit's first ReLU overwrites the unit's input, so that its skip sees no negative value either (jfzhang95).
    pub in_place_relu: bool,
    /// Whether the separable convolutions of the last exit block have a ReLU after their depthwise part too (all but
    /// jfzhang95).
    pub exit_depthwise_relu: bool,
    /// Whether the convolution of the first exit block that would have strided dilates like the two before it (all but
    /// jfzhang95, where it stays at rate 1: seen at output stride 8).
    pub dilate_strided: bool,
    /// Epsilon of the batch norms (TensorFlow and timm: 1e-3; jfzhang95: 1e-5).
    pub batch_norm_eps: f64,
}

/// A block of the entry flow: three separable convolutions of one width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryBlock {
    /// Channels of its result.
    pub width: usize,
    /// Stride of its third convolution and its shortcut.
    pub stride: usize,
}

/// (Name, widths and strides of the entry flow, blocks of the middle flow).
type Row = (&'static str, &'static [(usize, usize)], u8);

const VARIANTS: [Row; 3] = [
    ("xception41", &[(128, 2), (256, 2), (728, 2)], 8),
    ("xception65", &[(128, 2), (256, 2), (728, 2)], 16),
    ("xception71", &[(128, 2), (256, 1), (256, 2), (728, 1), (728, 2)], 16),
];

impl Xception {
    /// The 41-layer variant.
    pub fn xception41() -> Self {
        Self::of(VARIANTS[0])
    }

    /// The 65-layer variant, the paper's.
    pub fn xception65() -> Self {
        Self::of(VARIANTS[1])
    }

    /// The 71-layer variant of the Cityscapes models (its entry flow has five blocks).
    pub fn xception71() -> Self {
        Self::of(VARIANTS[2])
    }

    fn of((_, entry, middle_blocks): Row) -> Self {
        Self {
            stem: [32, 64],
            entry: entry.iter().map(|&(width, stride)| EntryBlock { width, stride }).collect(),
            middle_blocks,
            exit: [[728, 1024, 1024], [1536, 1536, 2048]],
            in_place_relu: false,
            exit_depthwise_relu: true,
            dilate_strided: true,
            batch_norm_eps: 1e-3,
        }
    }

    /// The strides that a published entry flow of so many blocks has: what a checkpoint does not tell.
    pub fn entry_strides(blocks: usize) -> Option<Vec<usize>> {
        let row = VARIANTS.iter().find(|(_, entry, _)| entry.len() == blocks);
        row.map(|(_, entry, _)| entry.iter().map(|&(_, stride)| stride).collect())
    }

    /// The tap of TensorFlow's low-level features: the second convolution of the block that ends at stride 4 or,
    /// in Xception-71, of the first block after it that is wide enough (`slim/nets/xception.py`, `feature_extractor.py`).
    pub fn low_level_tap(&self) -> &'static str {
        if self.entry.len() > 3 { "entry_flow.block3.sepconv2" } else { "entry_flow.block2.sepconv2" }
    }

    /// The tap of timm's features at stride 4: the same after the next convolution's ReLU (`timm/models/xception_aligned.py`).
    pub fn low_level_relu_tap(&self) -> &'static str {
        if self.entry.len() > 3 { "entry_flow.block3.sepconv3.relu" } else { "entry_flow.block2.sepconv3.relu" }
    }

    /// The tap of jfzhang95's low-level features: the ReLU of the first block (`modeling/backbone/xception.py`).
    pub fn low_level_in_place_tap() -> &'static str {
        "entry_flow.block2.relu"
    }

    /// The published variant with this depth, or plain `xception`.
    pub(crate) fn name(&self) -> &'static str {
        let same = |(_, entry, middle): &&Row| entry.len() == self.entry.len() && *middle == self.middle_blocks;
        VARIANTS.iter().find(same).map_or("xception", |(name, ..)| name)
    }
}

/// What a unit adds its convolutions to.
enum Skip {
    /// A strided 1×1 convolution of its input.
    Conv,
    /// Its input.
    Sum,
    /// Nothing.
    None,
}

/// Where the ReLUs of a unit stand.
#[derive(Clone, Copy)]
enum Relu {
    /// Before each separable convolution, so that the unit ends without one.
    Before,
    /// The same, and the first one happens to the unit's input: the skip sees it.
    BeforeInPlace,
    /// After each depthwise and each pointwise convolution (the last exit block).
    After,
    /// After each pointwise convolution, and before the first (jfzhang95's last exit block).
    AfterPointwise,
}

/// A unit's numbers: widths of its three separable convolutions, stride of the third, atrous rate of each.
struct Unit {
    widths: [usize; 3],
    stride: usize,
    rates: [usize; 3],
    skip: Skip,
    relu: Relu,
}

pub(super) fn xception(g: &mut Builder, image: Value, layout: &Xception, network: &Network) -> Value {
    g.batch_norm_eps(layout.batch_norm_eps);
    let mut stride = OutputStride::new(network.output_stride, 2, DilationStart::NextUnit);
    let before = if layout.in_place_relu { Relu::BeforeInPlace } else { Relu::Before };
    let after = if layout.exit_depthwise_relu { Relu::After } else { Relu::AfterPointwise };

    let mut x = g.scope("entry_flow", |g| {
        let x = g.conv_bn_act("conv1", image, Conv::dense(layout.stem[0], 3).stride(2), Activation::Relu);
        let mut x = g.conv_bn_act("conv2", x, Conv::dense(layout.stem[1], 3), Activation::Relu);
        for (i, block) in layout.entry.iter().enumerate() {
            let (stride, rate) = stride.next(block.stride);
            let widths = [block.width; 3];
            let u = Unit { widths, stride, rates: [rate; 3], skip: Skip::Conv, relu: before };
            x = g.scope(format!("block{}", i + 1), |g| unit(g, x, &u));
        }
        x
    });

    x = g.scope("middle_flow", |g| {
        for i in 0..layout.middle_blocks {
            let (stride, rate) = stride.next(1);
            let widths = [g.channels(x); 3];
            let u = Unit { widths, stride, rates: [rate; 3], skip: Skip::Sum, relu: before };
            x = g.scope(format!("block{}", i + 1), |g| unit(g, x, &u));
        }
        x
    });

    g.scope("exit_flow", |g| {
        let (s, rate) = stride.next(2);
        let rates = [rate, rate, if layout.dilate_strided { rate } else { 1 }];
        let u = Unit { widths: layout.exit[0], stride: s, rates, skip: Skip::Conv, relu: before };
        let x = g.scope("block1", |g| unit(g, x, &u));
        let (s, rate) = stride.next(1);
        let rates = network.multi_grid.map(|grid| rate.saturating_mul(grid));
        let u = Unit { widths: layout.exit[1], stride: s, rates, skip: Skip::None, relu: after };
        g.scope("block2", |g| unit(g, x, &u))
    })
}

/// Three separable convolutions and a skip.
fn unit(g: &mut Builder, x: Value, u: &Unit) -> Value {
    let x = match u.relu {
        Relu::Before | Relu::After => x,
        Relu::BeforeInPlace | Relu::AfterPointwise => g.activation(x, Activation::Relu),
    };
    let mut y = x;
    for (i, (&width, &rate)) in u.widths.iter().zip(&u.rates).enumerate() {
        let (stride, first) = (if i == 2 { u.stride } else { 1 }, i == 0);
        let depthwise = Conv::depthwise(g.channels(y)).dilation(rate).stride(stride);
        y = g.scope(format!("sepconv{}", i + 1), |g| separable(g, y, depthwise, width, u.relu, first));
    }
    match u.skip {
        Skip::Conv => {
            let shortcut = g.conv_bn("shortcut", x, Conv::pointwise(u.widths[2]).stride(u.stride));
            g.add(y, shortcut)
        }
        Skip::Sum => g.add(y, x),
        Skip::None => y,
    }
}

fn separable(g: &mut Builder, x: Value, depthwise: Conv, width: usize, relu: Relu, first: bool) -> Value {
    let pointwise = Conv::pointwise(width);
    match relu {
        Relu::Before | Relu::BeforeInPlace => {
            let done = first && matches!(relu, Relu::BeforeInPlace);
            let x = if done { x } else { g.activation(x, Activation::Relu) };
            let x = g.conv_bn("depthwise", x, depthwise);
            g.conv_bn("pointwise", x, pointwise)
        }
        Relu::After => {
            let x = g.conv_bn_act("depthwise", x, depthwise, Activation::Relu);
            g.conv_bn_act("pointwise", x, pointwise, Activation::Relu)
        }
        Relu::AfterPointwise => {
            let x = g.conv_bn("depthwise", x, depthwise);
            g.conv_bn_act("pointwise", x, pointwise, Activation::Relu)
        }
    }
}
