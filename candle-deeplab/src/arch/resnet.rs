//! ResNet (He et al. 2015), with basic units or with bottlenecks whose stride is in the 3×3 convolution. Code bases
//! differ in which unit of a block has the stride, and in what dilates.

use super::stride::OutputStride;
use crate::config::{MultiGridRule, Network, PoolPadding, ResNet, Stem, StridedUnit, Unit};
use crate::graph::{Activation, Builder, Conv, Padding, Value};

/// A bottleneck has a quarter of its result's channels inside.
const BOTTLENECK: usize = 4;

pub(super) fn resnet(g: &mut Builder, image: Value, layout: &ResNet, network: &Network) -> Value {
    g.batch_norm_eps(layout.batch_norm_eps);
    let mut x = match layout.stem {
        Stem::Single { width } => g.conv_bn_act("conv1", image, Conv::dense(width, 7).stride(2), Activation::Relu),
        Stem::Deep { widths } => g.scope("conv1", |g| {
            let x = g.conv_bn_act("conv1", image, Conv::dense(widths[0], 3).stride(2), Activation::Relu);
            let x = g.conv_bn_act("conv2", x, Conv::dense(widths[1], 3), Activation::Relu);
            g.conv_bn_act("conv3", x, Conv::dense(widths[2], 3), Activation::Relu)
        }),
    };
    let padding = match layout.pool_padding {
        PoolPadding::Same => Padding::Same,
        PoolPadding::Symmetric => Padding::Symmetric(1),
    };
    x = g.max_pool("pool1", x, 3, 2, padding);

    let mut stride = OutputStride::new(network.output_stride, 4, layout.dilation_start);
    for (b, (&units, &width)) in layout.units.iter().zip(&layout.widths).enumerate() {
        let last_block = b == 3;
        let strided = match layout.strided_unit {
            StridedUnit::First => (b > 0).then_some(0),
            StridedUnit::Last => (!last_block).then_some(units.saturating_sub(1)),
        };
        stride.stage();
        x = g.scope(format!("block{}", b + 1), |g| {
            for u in 0..units {
                let (s, rate) = stride.next(if strided == Some(u) { 2 } else { 1 });
                let grid = network.multi_grid.get(usize::from(u)).copied().filter(|_| last_block);
                let rate = match (grid, layout.multi_grid_rule) {
                    (None, _) => rate,
                    (Some(grid), MultiGridRule::Factors) => rate.saturating_mul(grid),
                    (Some(_), MultiGridRule::Rates) if network.multi_grid == [1, 1, 1] => rate,
                    (Some(grid), MultiGridRule::Rates) => grid,
                };
                x = g.scope(format!("unit{}", u + 1), |g| match layout.unit {
                    Unit::Bottleneck => bottleneck(g, x, width, s, rate),
                    Unit::Basic { dilate_second } => {
                        basic(g, x, width, s, [rate, if dilate_second { stride.rate() } else { 1 }])
                    }
                });
            }
            x
        });
    }
    x
}

fn bottleneck(g: &mut Builder, x: Value, width: usize, stride: usize, rate: usize) -> Value {
    let inner = width / BOTTLENECK;
    let shortcut = shortcut(g, x, width, stride);
    let y = g.conv_bn_act("conv1", x, Conv::pointwise(inner), Activation::Relu);
    let y = g.conv_bn_act("conv2", y, Conv::dense(inner, 3).stride(stride).dilation(rate), Activation::Relu);
    let y = g.conv_bn("conv3", y, Conv::pointwise(width));
    let sum = g.add(shortcut, y);
    g.activation(sum, Activation::Relu)
}

fn basic(g: &mut Builder, x: Value, width: usize, stride: usize, rates: [usize; 2]) -> Value {
    let shortcut = shortcut(g, x, width, stride);
    let y = g.conv_bn_act("conv1", x, Conv::dense(width, 3).stride(stride).dilation(rates[0]), Activation::Relu);
    let y = g.conv_bn("conv2", y, Conv::dense(width, 3).dilation(rates[1]));
    let sum = g.add(shortcut, y);
    g.activation(sum, Activation::Relu)
}

fn shortcut(g: &mut Builder, x: Value, width: usize, stride: usize) -> Value {
    if g.channels(x) != width {
        g.conv_bn("shortcut", x, Conv::pointwise(width).stride(stride))
    } else if stride > 1 {
        // x[::stride]: a pool over single pixels.
        g.max_pool("shortcut", x, 1, stride, Padding::Symmetric(0))
    } else {
        x
    }
}
