//! Modified aligned Xception (Chen et al. 2018, figure 4): deeper than Chollet's, with strided separable convolutions
//! instead of max pooling and batch norm after each 3×3 depthwise convolution.

use super::stride::OutputStride;
use crate::config::{DilationStart, Network, Xception};
use crate::graph::{Activation, Builder, Conv, Value};

/// What a unit's skip adds to the result of its convolutions.
enum Skip {
    /// A strided 1×1 convolution of the unit's input.
    Conv,
    /// The unit's input.
    Sum,
    /// Nothing.
    None,
}

/// The places of a unit's ReLUs.
#[derive(Clone, Copy)]
enum Relu {
    /// Before each separable convolution, so that the unit ends without one.
    Before,
    /// The same, and the first one is applied to the unit's input, so that the skip sees it.
    BeforeInPlace,
    /// After each depthwise and each pointwise convolution (the last exit block).
    After,
    /// After each pointwise convolution, and before the first (jfzhang95's last exit block).
    AfterPointwise,
}

/// The parameters of a unit: widths of its three separable convolutions, stride of the third, atrous rate of each.
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

/// Adds three separable convolutions and a skip.
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
