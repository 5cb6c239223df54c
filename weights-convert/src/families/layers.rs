//! A file seen through a family's names: which of our layers are in it, and what they are like.

use std::collections::BTreeMap;

use candle_deeplab::graph::{Graph, Op, Param, Role};

use super::names::{Naming, Rule};
use crate::axes::AxisOrder;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::read::Checkpoint;

/// No published network has more layers of a kind; a file with more names is not one.
pub(super) const MAX_LAYERS: usize = 64;

/// Where one of our parameters comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Our parameter.
    pub param: Param,
    /// The tensor's name in the file.
    pub name: String,
    /// The order of its axes there.
    pub axes: AxisOrder,
}

impl Source {
    /// Number of the parameter's elements.
    pub fn elements(&self) -> usize {
        self.param.shape.iter().product()
    }
}

/// The layers of one network in a file, by our paths.
pub(super) struct Layers<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    /// The backbone's own scope in the file.
    pub(super) backbone: &'static str,
    rules: &'static [&'static [Rule]],
    naming: Naming,
    /// The name of each layer's kernel by the layer's scope, where a file may not name it after its variable (TFLite).
    kernels: BTreeMap<String, String>,
}

/// The sizes that a kernel's shape tells.
pub(super) struct KernelShape {
    /// The layer's output channels.
    pub(super) width: usize,
    /// The kernel's height.
    pub(super) size: usize,
}

impl<'a> Layers<'a> {
    pub(super) fn new(
        checkpoint: &'a Checkpoint,
        backbone: &'static str,
        rules: &'static [&'static [Rule]],
        naming: Naming,
    ) -> Self {
        let lite = checkpoint.format() == Format::TfLite;
        let convs = checkpoint.geometry().convs.keys().filter(|_| lite);
        let kernels = convs.filter_map(|name| Some((tflite_scope(name)?.to_owned(), name.clone()))).collect();
        Self { checkpoint, backbone, rules, naming, kernels }
    }

    /// The family's names of a layer's convolution and norm.
    fn names(&self, path: &str) -> Option<(String, String)> {
        let path = path.strip_suffix(".bn").unwrap_or(path);
        self.rules.iter().copied().flatten().find_map(|rule| rule.apply(path, self.backbone))
    }

    /// The names that a kernel may have, and how its axes stand.
    fn kernels(&self, conv: &str) -> [(String, AxisOrder); 2] {
        if let Some(name) = self.kernels.get(conv) {
            return [(name.clone(), AxisOrder::Ohwi), (name.clone(), AxisOrder::Mhwc)];
        }
        match (self.naming, self.checkpoint.format()) {
            (Naming::Slim, Format::TfLite) => {
                [(format!("{conv}/weights"), AxisOrder::Ohwi), (format!("{conv}/depthwise_weights"), AxisOrder::Mhwc)]
            }
            (Naming::Slim, _) => {
                [(format!("{conv}/weights"), AxisOrder::Hwio), (format!("{conv}/depthwise_weights"), AxisOrder::Hwcm)]
            }
            (Naming::Torch, _) => {
                [(format!("{conv}.weight"), AxisOrder::Same), (format!("{conv}.weight"), AxisOrder::Same)]
            }
        }
    }

    /// Whether the kernel or the norm of a layer is in the file. A norm alone counts, so that its missing kernel is an error
    /// and the network is not taken for a smaller one.
    pub(super) fn has(&self, path: &str) -> bool {
        let Some((_, norm)) = self.names(path) else { return false };
        let normed = match self.naming {
            Naming::Slim => self.checkpoint.has_under(&format!("{norm}/")),
            Naming::Torch => self.checkpoint.info(&format!("{norm}.running_var")).is_some(),
        };
        self.has_kernel(path) || normed
    }

    /// Whether a layer's kernel is in the file.
    pub(super) fn has_kernel(&self, path: &str) -> bool {
        let Some((conv, _)) = self.names(path) else { return false };
        self.kernels(&conv).iter().any(|(name, _)| self.checkpoint.info(name).is_some())
    }

    /// The number of layers `path(1)`, `path(2)`, …
    ///
    /// # Errors
    /// [`Error::MissingLayer`] where there is a gap.
    pub(super) fn count(&self, path: impl Fn(usize) -> String) -> Result<usize> {
        let count = (1..=MAX_LAYERS).take_while(|&i| self.has(&path(i))).count();
        if (count + 2..=MAX_LAYERS).any(|i| self.has(&path(i))) {
            self.kernel(&path(count + 1))?;
        }
        Ok(count)
    }

    /// The shape of a dense layer's kernel. PyTorch's depthwise kernels have the same axes.
    pub(super) fn kernel(&self, path: &str) -> Result<KernelShape> {
        let file = || self.checkpoint.path().to_owned();
        let name = self.names(path).map(|(conv, _)| conv).unwrap_or_else(|| path.to_owned());
        let [(name, axes), _] = self.kernels(&name);
        let info =
            self.checkpoint.info(&name).ok_or_else(|| Error::MissingLayer { path: file(), tensor: name.clone() })?;
        match (axes, info.shape.as_slice()) {
            (AxisOrder::Ohwi, &[width, size, _, _])
            | (AxisOrder::Same, &[width, _, size, _])
            | (AxisOrder::Hwio, &[size, _, _, width]) => Ok(KernelShape { width, size }),
            // A linear layer is a 1×1 convolution.
            (AxisOrder::Ohwi | AxisOrder::Same, &[width, _]) | (AxisOrder::Hwio, &[_, width]) => {
                Ok(KernelShape { width, size: 1 })
            }
            (_, shape) => {
                let what = format!("its shape {shape:?} is not that of a convolution's kernel");
                Err(Error::BadTensor { path: file(), tensor: name, what })
            }
        }
    }

    /// The output channels of a dense layer.
    pub(super) fn width(&self, path: &str) -> Result<usize> {
        self.kernel(path).map(|kernel| kernel.width)
    }

    /// The atrous rate of a layer, where the file holds the graph.
    pub(super) fn rate(&self, path: &str) -> Option<usize> {
        let (conv, _) = self.names(path)?;
        let convs = &self.checkpoint.geometry().convs;
        self.kernels(&conv).iter().find_map(|(name, _)| convs.get(name)).map(|conv| conv.dilation.0)
    }

    /// Where a parameter of the network comes from.
    pub(super) fn source(&self, graph: &Graph, param: Param) -> Result<Source> {
        let node = graph.node(param.node);
        let unnamed = || Error::Unrecognised {
            path: self.checkpoint.path().to_owned(),
            reason: format!("this family has no name for `{}`", param.name),
        };
        let (conv, norm) = self.names(&node.path).ok_or_else(unnamed)?;
        let [dense, depthwise] = self.kernels(&conv);
        let (kernel, axes) = if matches!(node.op, Op::Conv(conv) if conv.groups > 1) { depthwise } else { dense };
        let name = match (self.naming, param.role) {
            (_, Role::Kernel) => return Ok(Source { param, name: kernel, axes }),
            // TFLite names a bias after the operation that a layer ended in; the graph says which one it is.
            (Naming::Slim, Role::Bias) => match self.checkpoint.geometry().biases.get(&kernel) {
                Some(bias) => bias.clone(),
                None => format!("{conv}/biases"),
            },
            (Naming::Slim, Role::Gamma) => format!("{norm}/BatchNorm/gamma"),
            (Naming::Slim, Role::Beta) => format!("{norm}/BatchNorm/beta"),
            (Naming::Slim, Role::Mean) => format!("{norm}/BatchNorm/moving_mean"),
            (Naming::Slim, Role::Variance) => format!("{norm}/BatchNorm/moving_variance"),
            (Naming::Torch, Role::Bias) => format!("{conv}.{}", param.role.suffix()),
            (Naming::Torch, _) => format!("{norm}.{}", param.role.suffix()),
        };
        Ok(Source { param, name, axes: AxisOrder::Same })
    }
}

/// The scope of the layer whose kernel has this name in a TFLite file. TensorFlow's converter names a constant after the
/// variable (`scope/weights`), after its fake quantisation, or after the operations that were fused into it
/// (`scope/BatchNorm/FusedBatchNormV3;scope/Conv2D`); they all have the scope before them.
fn tflite_scope(name: &str) -> Option<&str> {
    let scope = |part: &'_ str| -> Option<usize> {
        let (mut scope, _) = part.rsplit_once('/')?;
        for inner in ["/BatchNorm", "/weights_quant", "/depthwise_weights_quant"] {
            scope = scope.strip_suffix(inner).unwrap_or(scope);
        }
        Some(scope.len())
    };
    let mut scopes = name.split(';').map(|part| Some(&part[..scope(part)?]));
    let first = scopes.next()??;
    scopes.all(|scope| scope == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::tflite_scope;

    #[test]
    fn a_kernel_of_tflite_has_its_layers_scope() {
        for (name, scope) in [
            ("aspp0/weights", "aspp0"),
            ("aspp0/Conv2D", "aspp0"),
            ("MobilenetV2/Conv/weights_quant/FakeQuantWithMinMaxVars", "MobilenetV2/Conv"),
            ("a/depthwise/BatchNorm/FusedBatchNormV3;a/depthwise/depthwise", "a/depthwise"),
            ("a/depthwise/depthwise_weights", "a/depthwise"),
        ] {
            assert_eq!(tflite_scope(name), Some(scope));
        }
        assert_eq!(tflite_scope("a/Conv2D;b/Conv2D"), None);
        assert_eq!(tflite_scope("weights"), None);
        assert_eq!(tflite_scope(""), None);
    }
}
