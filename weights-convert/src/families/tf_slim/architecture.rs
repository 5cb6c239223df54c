//! From the variables in a file to the network that they belong to.

use candle_deeplab::arch::{EntryBlock, InvertedResidual, MobileNetV2, ResNet, Stem, Xception};
use candle_deeplab::config::{Aspp, Backbone, Decoder, Network, Normalization};
use candle_deeplab::graph::Role;

use super::names::{DEPTHWISE_KERNEL, KERNEL, LOGITS};
use crate::error::{Error, Result};
use crate::families::{Decision, Options};
use crate::layout::Layout;
use crate::read::{Checkpoint, Format};

/// TF-Slim's `batch_norm_params` in the head (`deeplab/model.py`).
const HEAD_EPS: f64 = 1e-5;
/// TF-Slim's `batch_norm_epsilon` for Xception and MobileNetV2 (`slim/nets/{xception,mobilenet}.py`).
const BACKBONE_EPS: f64 = 1e-3;
/// The same for ResNet v1 (`slim/nets/resnet_utils.py`).
const RESNET_EPS: f64 = 1e-5;
/// The code base's default of `--output_stride` (`deeplab/common.py`).
const DEFAULT_OUTPUT_STRIDE: usize = 16;
/// The rates of its published three-branch models at output stride 16; at 8 they are twice as large.
const PUBLISHED_RATES: [usize; 3] = [6, 12, 18];
/// No published network has more blocks of a kind; a file with more names is not one.
const MAX_BLOCKS: usize = 64;

/// The variables of one network in a file.
pub(super) struct Variables<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    /// The backbone's scope.
    pub(super) scope: String,
}

impl<'a> Variables<'a> {
    /// Finds the backbone's scope, or says what the file holds instead of a network of this family.
    pub(super) fn find(checkpoint: &'a Checkpoint) -> Result<Self> {
        let unrecognised = |reason: String| Error::Unrecognised { path: checkpoint.path().to_owned(), reason };
        let has_scope = |scope: &str| {
            let under = |name: &str| name.strip_prefix(scope).is_some_and(|rest| rest.starts_with('/'));
            checkpoint.tensors().any(|(name, _)| under(name))
        };
        if has_scope("meta_architecture") {
            return Err(unrecognised(
                "it has a dense prediction cell instead of an ASPP, which is not supported yet".into(),
            ));
        }
        if has_scope("MobilenetV3") {
            return Err(unrecognised("it is a MobileNetV3, which is not supported yet".into()));
        }
        const SCOPES: [&str; 6] =
            ["xception_41", "xception_65", "xception_71", "MobilenetV2", "resnet_v1_50", "resnet_v1_101"];
        let Some(scope) = SCOPES.into_iter().find(|scope| has_scope(scope)) else {
            let sample: Vec<&str> = checkpoint.tensors().take(3).map(|(name, _)| name).collect();
            let looked_for = SCOPES.join("/, ");
            let has =
                if sample.is_empty() { "no tensors".into() } else { format!("tensors such as {}", sample.join(", ")) };
            return Err(unrecognised(format!("looked for a TensorFlow DeepLab network ({looked_for}/), found {has}")));
        };
        let variables = Self { checkpoint, scope: scope.into() };
        if !variables.has(LOGITS) {
            return Err(unrecognised(format!(
                "it has the backbone `{scope}` but no `{LOGITS}`: a backbone to start training from, not a segmentation network"
            )));
        }
        Ok(variables)
    }

    fn shape(&self, name: &str) -> Option<&'a [usize]> {
        self.checkpoint.info(name).map(|info| info.shape.as_slice())
    }

    /// Whether a layer (dense or depthwise) stands at `scope`.
    fn has(&self, scope: &str) -> bool {
        [KERNEL, DEPTHWISE_KERNEL].iter().any(|kernel| self.shape(&format!("{scope}/{kernel}")).is_some())
    }

    /// Whether a layer stands at `scope` in the backbone.
    fn backbone_has(&self, scope: &str) -> bool {
        self.has(&format!("{}/{scope}", self.scope))
    }

    /// The channels that the dense layer at `scope` results in.
    fn width(&self, scope: &str) -> Result<usize> {
        let name = format!("{scope}/{KERNEL}");
        let path = || self.checkpoint.path().to_owned();
        let shape = self.shape(&name).ok_or_else(|| Error::MissingLayer { path: path(), tensor: name.clone() })?;
        match (self.layout(Role::Kernel, false), shape) {
            (Layout::Ohwi, &[out, ..]) | (Layout::Hwio, &[.., out]) => Ok(out),
            _ => Err(Error::BadTensor { path: path(), tensor: name, what: "a kernel without axes".into() }),
        }
    }

    fn backbone_width(&self, scope: &str) -> Result<usize> {
        self.width(&format!("{}/{scope}", self.scope))
    }

    /// How a tensor's axes stand in this file.
    pub(super) fn layout(&self, role: Role, depthwise: bool) -> Layout {
        match (role, self.checkpoint.format() == Format::TfLite, depthwise) {
            (Role::Kernel, false, false) => Layout::Hwio,
            (Role::Kernel, false, true) => Layout::Hwcm,
            (Role::Kernel, true, false) => Layout::Ohwi,
            (Role::Kernel, true, true) => Layout::Mhwc,
            _ => Layout::Same,
        }
    }

    /// The atrous rate of a layer, where the file holds the graph.
    fn rate(&self, scope: &str) -> Option<usize> {
        let convs = &self.checkpoint.geometry().convs;
        let conv = [KERNEL, DEPTHWISE_KERNEL].iter().find_map(|kernel| convs.get(&format!("{scope}/{kernel}")))?;
        Some(conv.dilation.0)
    }

    /// The number of layers `scope(1)`, `scope(2)`, … without a gap.
    fn count(&self, scope: impl Fn(usize) -> String) -> usize {
        (1..=MAX_BLOCKS).take_while(|&i| self.has(&scope(i))).count()
    }
}

pub(super) fn network(v: &Variables, options: &Options, decisions: &mut Vec<Decision>) -> Result<Network> {
    let backbone = match v.scope.as_str() {
        "MobilenetV2" => Backbone::MobilenetV2(mobilenet_v2(v)?),
        scope if scope.starts_with("resnet") => Backbone::Resnet(resnet(v)?),
        _ => Backbone::Xception(xception(v)?),
    };
    let decoder = decoder(v, &backbone)?;
    let classes = v.width(LOGITS)?;
    decisions.push(Decision {
        what: "network",
        value: format!("DeepLabv3{} {}, {classes} classes", if decoder.is_some() { "+" } else { "" }, backbone.name()),
        because: "names and shapes of the variables".into(),
    });
    // Only the classifier has a bias of its own; without batch norms every layer has one.
    let batch_norm = v.checkpoint.tensors().any(|(name, _)| name.ends_with("/BatchNorm/moving_variance"));
    let normalization = if batch_norm { Normalization::BatchNorm } else { Normalization::Folded };

    let last = last_units(v, &backbone);
    let graph_stride = graph_output_stride(v, &last);
    let output_stride = output_stride(graph_stride, options, decisions);
    let multi_grid = multi_grid(v, &last, &backbone, options, decisions);
    let rates = rates(v, output_stride, graph_stride, options, decisions)?;
    Ok(Network {
        backbone,
        output_stride,
        multi_grid,
        normalization,
        align_corners: true,
        aspp: Aspp {
            width: v.width("concat_projection")?,
            rates,
            image_pooling: v.has("image_pooling"),
            batch_norm_eps: HEAD_EPS,
        },
        decoder,
        classes,
    })
}

fn xception(v: &Variables) -> Result<Xception> {
    let module = |block: &str, sepconv: usize| format!("{block}/xception_module/separable_conv{sepconv}_pointwise");
    let entry_block = |i: usize| format!("entry_flow/block{i}/unit_1");
    let blocks = v.count(|i| format!("{}/{}", v.scope, module(&entry_block(i), 3)));
    let strides = Xception::entry_strides(blocks).ok_or_else(|| Error::Unrecognised {
        path: v.checkpoint.path().to_owned(),
        reason: format!("an Xception whose entry flow has {blocks} blocks; known ones have 3 or 5"),
    })?;
    let block = |(i, stride)| Ok(EntryBlock { width: v.backbone_width(&module(&entry_block(i + 1), 3))?, stride });
    let entry = strides.into_iter().enumerate().map(block).collect::<Result<Vec<_>>>()?;
    let middle = v.count(|i| format!("{}/{}", v.scope, module(&format!("middle_flow/block1/unit_{i}"), 1)));
    let exit = |i: usize| -> Result<[usize; 3]> {
        let width = |sepconv| v.backbone_width(&module(&format!("exit_flow/block{i}/unit_1"), sepconv));
        Ok([width(1)?, width(2)?, width(3)?])
    };
    Ok(Xception {
        stem: [v.backbone_width("entry_flow/conv1_1")?, v.backbone_width("entry_flow/conv1_2")?],
        entry,
        middle_blocks: u8::try_from(middle).unwrap_or(u8::MAX),
        exit: [exit(1)?, exit(2)?],
        batch_norm_eps: BACKBONE_EPS,
    })
}

fn mobilenet_v2(v: &Variables) -> Result<MobileNetV2> {
    let block = |(i, stride)| {
        let scope = if i == 0 { "expanded_conv".to_owned() } else { format!("expanded_conv_{i}") };
        let expand = format!("{scope}/expand");
        let expansion = v.backbone_has(&expand).then(|| v.backbone_width(&expand)).transpose()?;
        Ok(InvertedResidual { expansion, width: v.backbone_width(&format!("{scope}/project"))?, stride })
    };
    let blocks = MobileNetV2::strides().into_iter().enumerate().map(block).collect::<Result<Vec<_>>>()?;
    Ok(MobileNetV2 { stem: v.backbone_width("Conv")?, blocks, batch_norm_eps: BACKBONE_EPS })
}

fn resnet(v: &Variables) -> Result<ResNet> {
    let stem = if v.backbone_has("conv1_1") {
        let width = |i| v.backbone_width(&format!("conv1_{i}"));
        Stem::Deep { widths: [width(1)?, width(2)?, width(3)?] }
    } else {
        Stem::Single { width: v.backbone_width("conv1")? }
    };
    let (mut units, mut widths) = ([0; 4], [0; 4]);
    for (b, (units, width)) in units.iter_mut().zip(&mut widths).enumerate() {
        let unit = |u: usize| format!("block{}/unit_{u}/bottleneck_v1/conv3", b + 1);
        let count = v.count(|u| format!("{}/{}", v.scope, unit(u)));
        *units = u8::try_from(count).unwrap_or(u8::MAX);
        *width = v.backbone_width(&unit(1))?;
    }
    Ok(ResNet { stem, units, widths, batch_norm_eps: RESNET_EPS })
}

fn decoder(v: &Variables, backbone: &Backbone) -> Result<Option<Decoder>> {
    const LOW_LEVEL: &str = "decoder/feature_projection0";
    if !v.has(LOW_LEVEL) {
        return Ok(None);
    }
    let low_level = match backbone {
        Backbone::Xception(layout) => layout.low_level_tap(),
        Backbone::MobilenetV2(_) => MobileNetV2::low_level_tap(),
        Backbone::Resnet(_) => ResNet::low_level_tap(),
    };
    let conv = |i: usize| format!("decoder/decoder_conv{}_pointwise", i - 1);
    let widths = (1..=v.count(conv)).map(|i| v.width(&conv(i))).collect::<Result<Vec<_>>>()?;
    Ok(Some(Decoder { low_level: low_level.into(), low_level_width: v.width(LOW_LEVEL)?, widths }))
}

/// The scopes of the dilated convolutions in the backbone's last block; multi-grid multiplies the rates of three.
fn last_units(v: &Variables, backbone: &Backbone) -> Vec<String> {
    let scope = |i: usize| match backbone {
        Backbone::Xception(_) => {
            format!("{}/exit_flow/block2/unit_1/xception_module/separable_conv{i}_depthwise", v.scope)
        }
        Backbone::Resnet(_) => format!("{}/block4/unit_{i}/bottleneck_v1/conv2", v.scope),
        Backbone::MobilenetV2(_) => format!("{}/expanded_conv_{}/depthwise", v.scope, 17 - i),
    };
    let count = if matches!(backbone, Backbone::MobilenetV2(_)) { 1 } else { 3 };
    (1..=count).map(scope).collect()
}

/// The output stride that the file's graph was built at. All backbones divide by 32, less what their last block makes
/// up for by dilation.
fn graph_output_stride(v: &Variables, last: &[String]) -> Option<usize> {
    let rate = v.rate(last.first()?)?;
    [1, 2, 4].contains(&rate).then(|| 32 / rate)
}

fn output_stride(from_graph: Option<usize>, options: &Options, decisions: &mut Vec<Decision>) -> usize {
    let (value, because) = match (options.output_stride, from_graph) {
        (Some(told), _) => (told, "--output-stride"),
        (None, Some(stride)) => (stride, "rates of the last block in the file's graph"),
        (None, None) => (DEFAULT_OUTPUT_STRIDE, "not in the file: the code base's default; --output-stride changes it"),
    };
    decisions.push(Decision { what: "output stride", value: value.to_string(), because: because.into() });
    value
}

fn multi_grid(
    v: &Variables,
    last: &[String],
    backbone: &Backbone,
    options: &Options,
    decisions: &mut Vec<Decision>,
) -> [usize; 3] {
    const NONE: [usize; 3] = [1, 1, 1];
    let rates: Option<Vec<usize>> = last.iter().map(|scope| v.rate(scope)).collect();
    let from_graph = match rates.as_deref() {
        Some(&[a, b, c]) if a > 0 && b % a == 0 && c % a == 0 => Some([1, b / a, c / a]),
        _ => None,
    };
    let (value, because) = match (options.multi_grid, from_graph, backbone) {
        (Some(told), ..) => (told, "--multi-grid"),
        (None, Some(grid), _) => (grid, "rates of the last block in the file's graph"),
        (None, None, Backbone::MobilenetV2(_)) => return NONE,
        (None, None, Backbone::Resnet(_)) => (
            NONE,
            "not in the file: the code base's default; its published ResNets were trained with --multi-grid 1,2,4",
        ),
        (None, None, Backbone::Xception(_)) => {
            (NONE, "not in the file: the code base's default; --multi-grid changes it")
        }
    };
    decisions.push(Decision { what: "multi-grid", value: format!("{value:?}"), because: because.into() });
    value
}

fn rates(
    v: &Variables,
    output_stride: usize,
    graph_stride: Option<usize>,
    options: &Options,
    decisions: &mut Vec<Decision>,
) -> Result<Vec<usize>> {
    let flag = |reason: String| Error::Flag { flag: "--atrous-rates", reason };
    let branches = v.count(|i| format!("aspp{i}_pointwise"));
    let from_graph: Option<Vec<usize>> = (1..=branches).map(|i| v.rate(&format!("aspp{i}_depthwise"))).collect();
    // Rates are in feature pixels: at half the output stride they are twice as many.
    let scaled = |rates: &[usize], from: usize| rates.iter().map(|rate| rate * from / output_stride.max(1)).collect();
    let (value, because) = match (&options.atrous_rates, from_graph) {
        (Some(told), _) if told.len() != branches => {
            return Err(flag(format!("{} rates for the {branches} atrous branches in the file", told.len())));
        }
        (Some(told), _) => (told.clone(), "--atrous-rates"),
        (None, _) if branches == 0 => (Vec::new(), "the file has no atrous branches"),
        (None, Some(rates)) => (scaled(&rates, graph_stride.unwrap_or(output_stride)), "the file's graph"),
        (None, None) if branches == PUBLISHED_RATES.len() => {
            let because = "not in the file: those of the published models; --atrous-rates changes them";
            (scaled(&PUBLISHED_RATES, DEFAULT_OUTPUT_STRIDE), because)
        }
        (None, None) => {
            return Err(flag(format!(
                "the file has {branches} atrous branches and does not tell their rates: give them"
            )));
        }
    };
    decisions.push(Decision { what: "atrous rates", value: format!("{value:?}"), because: because.into() });
    Ok(value)
}
