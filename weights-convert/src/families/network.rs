//! The network that a file's layers, its family's conventions and the user's flags add up to.

use candle_deeplab::config::{
    Aspp, Auxiliary, Backbone, Convolution, Decoder, ImagePooling, MobileNetV3, Network, Normalization, OUTPUT_STRIDES,
};

use super::conventions::{CHANGES, Conventions};
use super::layers::Layers;
use super::options::Options;
use super::transformers_config::TransformersConfig;
use crate::decision::Decision;
use crate::error::{Error, Result};
use crate::read::{Checkpoint, Corners};

/// What is known of a network beside its tensors.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) conventions: &'a Conventions,
    /// The user's flags, which overrule the rest.
    pub(super) options: &'a Options,
    /// What transformers' files in the folder say.
    pub(super) folder: Option<&'a TransformersConfig>,
}

pub(super) fn network(
    layers: &Layers,
    backbone: Backbone,
    low_level: &str,
    known: Known,
    decisions: &mut Vec<Decision>,
) -> Result<Network> {
    let Known { conventions, options, .. } = known;
    let decoder = if conventions.headless { None } else { decoder(layers, low_level, conventions)? };
    let classes = if conventions.headless { 0 } else { layers.width("classifier")? };
    let value = match &decoder {
        None if conventions.headless => format!("{} without a head", backbone.name()),
        None => format!("DeepLabv3 {}, {classes} classes", backbone.name()),
        Some(_) => format!("DeepLabv3+ {}, {classes} classes", backbone.name()),
    };
    decisions.push(Decision { what: "network", value, because: "names and shapes of the tensors".into() });
    let norms = |name: &str| name.ends_with("/BatchNorm/moving_variance") || name.ends_with(".running_var");
    let batch_norm = layers.checkpoint.tensors().any(|(name, _)| norms(name));

    if let Some(told) = options.output_stride.filter(|told| !OUTPUT_STRIDES.contains(told)) {
        return Err(Error::Option { option: "output_stride", reason: format!("{told} must be 8, 16 or 32") });
    }
    let last = last_rates(layers, &backbone);
    let output_stride = output_stride(&last, known, decisions);
    let multi_grid = multi_grid(&last, &backbone, conventions, options, decisions)?;
    let auxiliary = auxiliary(layers, &backbone, options, decisions)?;
    let align_corners = align_corners(layers.checkpoint, conventions, options, decisions)?;
    let aspp = if conventions.headless {
        None
    } else {
        let projection = layers.kernel("aspp.projection")?;
        let pooled = layers.has("aspp.image_pooling.conv");
        Some(Aspp {
            width: projection.width,
            rates: rates(layers, output_stride, &last, conventions, options, decisions)?,
            image_pooling: if pooled { conventions.image_pooling } else { ImagePooling::None },
            convolution: convolution(layers, "aspp.branch1", conventions).unwrap_or(conventions.separable),
            projection_kernel: projection.size,
            refine: convolution(layers, "aspp.refine", conventions),
            batch_norm_eps: conventions.head_eps,
        })
    };
    Ok(Network {
        backbone,
        output_stride,
        multi_grid,
        normalization: if batch_norm { Normalization::BatchNorm } else { Normalization::Folded },
        align_corners,
        aspp,
        decoder,
        auxiliary,
        classes,
    })
}

/// The auxiliary head, where there is one and it is wanted.
fn auxiliary(
    layers: &Layers,
    backbone: &Backbone,
    options: &Options,
    decisions: &mut Vec<Decision>,
) -> Result<Option<Auxiliary>> {
    let refuse = |reason: String| Err(Error::Option { option: "keep_auxiliary", reason });
    let path = |i: usize| format!("auxiliary.conv{i}.conv");
    let there = layers.has(&path(1)) || layers.has_kernel("auxiliary.classifier");
    let mut decide = |value: &str, because: &str| {
        decisions.push(Decision { what: "auxiliary head", value: value.into(), because: because.into() });
    };
    match (there, options.keep_auxiliary) {
        (false, false) => return Ok(None),
        (false, true) => return refuse("the file has no auxiliary head of a kind that is known".into()),
        (true, false) => {
            decide("left out", "only training needs it; `keep_auxiliary` keeps it");
            return Ok(None);
        }
        (true, true) => decide("kept", "`keep_auxiliary`"),
    }
    let tap = match backbone {
        Backbone::Resnet(_) => "block3",
        Backbone::MobilenetV3(_) => MobileNetV3::auxiliary_tap(),
        other => {
            return refuse(format!("it is known where that of a ResNet looks, but not that of a {}", other.name()));
        }
    };
    let widths = (1..=layers.count(path)?).map(|i| layers.width(&path(i))).collect::<Result<_>>()?;
    Ok(Some(Auxiliary { tap: tap.into(), widths }))
}

fn align_corners(
    checkpoint: &Checkpoint,
    conventions: &Conventions,
    options: &Options,
    decisions: &mut Vec<Decision>,
) -> Result<bool> {
    if conventions.headless {
        return Ok(conventions.align_corners);
    }
    let mut resizes = checkpoint.geometry().resizes.iter();
    let graph = match (resizes.next(), resizes.next()) {
        (None, _) => None,
        (Some(Corners::Aligned), None) => Some(Ok(true)),
        (Some(Corners::HalfPixel), None) => Some(Ok(false)),
        (Some(Corners::UpperLeft), None) => Some(Err("with neither align_corners nor half_pixel_centers")),
        (Some(_), Some(_)) => Some(Err("in several ways")),
    };
    let (value, because) = match (options.align_corners, graph) {
        (Some(told), Some(graph)) if graph != Ok(told) => {
            (told, "`align_corners`; the file's graph resizes in another way")
        }
        (Some(told), _) => (told, "`align_corners`"),
        (None, Some(Ok(graph))) => (graph, "the resizes in the file's graph"),
        (None, Some(Err(how))) => {
            let what = format!(
                "its graph resizes {how}, which no network here does; choose the way that comes closest with `align_corners`"
            );
            return Err(Error::Unsupported { path: checkpoint.path().to_owned(), what });
        }
        (None, None) => (conventions.align_corners, "not in the file: the family's rule; `align_corners` changes it"),
    };
    decisions.push(Decision { what: "align corners", value: value.to_string(), because: because.into() });
    Ok(value)
}

/// How the 3×3 convolution of a scope is made, where there is one.
fn convolution(layers: &Layers, scope: &str, conventions: &Conventions) -> Option<Convolution> {
    let [dense, depthwise, pointwise] = ["conv", "depthwise", "pointwise"].map(|part| format!("{scope}.{part}"));
    if layers.has_kernel(&dense) {
        return Some(Convolution::Dense);
    }
    // A norm alone is a convolution as well: its missing kernel will be an error.
    let separable = layers.has_kernel(&depthwise) || layers.has_kernel(&pointwise);
    (separable || layers.has(&dense) || layers.has(&pointwise)).then_some(conventions.separable)
}

/// The last layer of a 3×3 convolution, whose width is that of the whole.
fn last_layer(scope: &str, convolution: Convolution) -> String {
    format!("{scope}.{}", if convolution == Convolution::Dense { "conv" } else { "pointwise" })
}

fn decoder(layers: &Layers, low_level: &str, conventions: &Conventions) -> Result<Option<Decoder>> {
    if !layers.has("decoder.low_level") {
        return Ok(None);
    }
    let convolution = convolution(layers, "decoder.conv1", conventions).unwrap_or(conventions.separable);
    let conv = |i: usize| last_layer(&format!("decoder.conv{i}"), convolution);
    let widths = (1..=layers.count(conv)?).map(|i| layers.width(&conv(i))).collect::<Result<_>>()?;
    Ok(Some(Decoder {
        low_level: low_level.into(),
        low_level_width: layers.width("decoder.low_level")?,
        concat: conventions.concat,
        widths,
        convolution,
        before: None,
    }))
}

/// The rates of the convolutions that multi-grid multiplies, where the file holds the graph.
fn last_rates(layers: &Layers, backbone: &Backbone) -> Vec<Option<usize>> {
    let path = |i: usize| match backbone {
        Backbone::Xception(_) => format!("backbone.exit_flow.block2.sepconv{i}.depthwise"),
        // That of a bottleneck; no file with a graph has basic units.
        Backbone::Resnet(_) => format!("backbone.block4.unit{i}.conv2"),
        Backbone::MobilenetV2(layout) => format!("backbone.block{}.depthwise", layout.blocks.len()),
        Backbone::MobilenetV3(layout) => format!("backbone.block{}.depthwise", layout.blocks.len()),
    };
    (1..=3).map(|i| layers.rate(&path(i))).collect()
}

/// The output stride that the file's graph was built at: all backbones divide by 32, less what their last block makes up
/// for by dilation.
fn graph_output_stride(last: &[Option<usize>]) -> Option<usize> {
    let rate = last.first().copied().flatten()?;
    [1, 2, 4].contains(&rate).then(|| 32 / rate)
}

fn output_stride(last: &[Option<usize>], known: Known, decisions: &mut Vec<Decision>) -> usize {
    let Known { conventions, options, folder } = known;
    let (value, because) = match (options.output_stride, graph_output_stride(last)) {
        (Some(told), Some(graph)) if told != graph => {
            (told, format!("`output_stride`; the file's graph was built at {graph}"))
        }
        (Some(told), _) => (told, "`output_stride`".into()),
        (None, Some(stride)) => (stride, "rates of the last block in the file's graph".into()),
        (None, None) => match folder {
            Some(folder) => (folder.output_stride(), "config.json".into()),
            None => {
                (conventions.output_stride, "not in the file: the family's default; `output_stride` changes it".into())
            }
        },
    };
    decisions.push(Decision { what: "output stride", value: value.to_string(), because });
    value
}

fn multi_grid(
    last: &[Option<usize>],
    backbone: &Backbone,
    conventions: &Conventions,
    options: &Options,
    decisions: &mut Vec<Decision>,
) -> Result<[usize; 3]> {
    let from_graph = match *last {
        [Some(a), Some(b), Some(c)] if a > 0 && b % a == 0 && c % a == 0 => Some([1, b / a, c / a]),
        _ => None,
    };
    if !backbone.has_multi_grid() {
        return match options.multi_grid {
            Some(_) => Err(Error::Option { option: "multi_grid", reason: "a MobileNet has none".into() }),
            None => Ok([1, 1, 1]),
        };
    }
    let (value, because) = match (options.multi_grid, from_graph) {
        (Some(told), _) => (told, "`multi_grid`".to_owned()),
        (None, Some(grid)) => (grid, "rates of the last block in the file's graph".into()),
        (None, None) => {
            // Only ResNets are trained with one.
            let resnet = matches!(backbone, Backbone::Resnet(_));
            let value = if resnet { conventions.multi_grid } else { [1, 1, 1] };
            let note = if resnet { conventions.multi_grid_note } else { CHANGES };
            (value, format!("not in the file: the family's default; {note}"))
        }
    };
    decisions.push(Decision { what: "multi-grid", value: format!("{value:?}"), because });
    Ok(value)
}

fn rates(
    layers: &Layers,
    output_stride: usize,
    last: &[Option<usize>],
    conventions: &Conventions,
    options: &Options,
    decisions: &mut Vec<Decision>,
) -> Result<Vec<usize>> {
    let refuse = |reason: String| Error::Option { option: "atrous_rates", reason };
    let scope = |i: usize| format!("aspp.branch{i}");
    let convolution = convolution(layers, "aspp.branch1", conventions).unwrap_or(conventions.separable);
    let branches = layers.count(|i| last_layer(&scope(i), convolution))?;
    let rate =
        |i| layers.rate(&format!("{}.depthwise", scope(i))).or_else(|| layers.rate(&format!("{}.conv", scope(i))));
    let from_graph: Option<Vec<usize>> = (1..=branches).map(rate).collect();
    // Rates are in feature pixels: at half the output stride they are twice as many.
    let scaled = |rates: &[usize], from: usize| {
        let scale = |&rate: &usize| {
            let product = rate.checked_mul(from).filter(|product| product.is_multiple_of(output_stride.max(1)))?;
            Some(product / output_stride.max(1))
        };
        let odd =
            || refuse(format!("{rates:?} at output stride {from} are no whole numbers at {output_stride}: give them"));
        rates.iter().map(scale).collect::<Option<Vec<_>>>().ok_or_else(odd)
    };
    let (value, because) = match (&options.atrous_rates, from_graph) {
        (Some(told), _) if told.len() != branches => {
            return Err(refuse(format!("{} rates for the {branches} atrous branches in the file", told.len())));
        }
        (Some(told), _) => (told.clone(), "`atrous_rates`"),
        (None, _) if branches == 0 => (Vec::new(), "the file has no atrous branches"),
        (None, Some(rates)) => {
            (scaled(&rates, graph_output_stride(last).unwrap_or(output_stride))?, "the file's graph")
        }
        (None, None) if branches == 3 => {
            let rates = OUTPUT_STRIDES.into_iter().zip(conventions.rates).find(|(stride, _)| *stride == output_stride);
            let rates = rates.map_or(conventions.rates[1], |(_, rates)| rates);
            (rates.to_vec(), "not in the file: the family's default; `atrous_rates` changes them")
        }
        (None, None) => {
            return Err(refuse(format!(
                "the file has {branches} atrous branches and does not tell their rates: give them"
            )));
        }
    };
    decisions.push(Decision { what: "atrous rates", value: format!("{value:?}"), because: because.into() });
    Ok(value)
}
