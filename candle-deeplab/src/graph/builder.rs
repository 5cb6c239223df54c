//! Builds a graph from a network definition.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{Activation, Conv, Graph, Node, Op, Padding, Value, Windows};
use crate::error::{Error, Result};

/// The most channels a node may have: far above any network, far below an overflow.
const MAX_CHANNELS: usize = 1 << 20;

/// How convolutions are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// Each convolution is followed by batch normalisation and has no bias of its own.
    BatchNorm,
    /// The weights were stored with batch norm folded in (TFLite): each convolution has a bias and no norm.
    Folded,
}

/// Builds a [`Graph`].
///
/// Definitions read like a forward pass because no call returns a `Result`: the builder keeps the first mistake and its
/// node, and [`finish`](Self::finish) reports it.
///
/// ```
/// use candle_deeplab::graph::{Activation, Builder, Conv, Normalization};
///
/// let (mut g, image) = Builder::new(3, Normalization::BatchNorm);
/// let x = g.scope("stem", |g| g.conv_bn_act("conv1", image, Conv::dense(32, 3).stride(2), Activation::Relu));
/// let graph = g.finish(x)?;
/// assert_eq!(graph.params().len(), 5); // weight, gamma, beta, mean, variance
/// # Ok::<(), candle_deeplab::Error>(())
/// ```
#[derive(Debug)]
pub struct Builder {
    nodes: Vec<Node>,
    paths: HashSet<String>,
    taps: BTreeMap<String, Value>,
    scope: Vec<String>,
    normalization: Normalization,
    batch_norm_eps: f64,
    error: Option<Error>,
}

impl Builder {
    /// A builder of a graph whose input has this many channels, and the input's value.
    pub fn new(input_channels: usize, normalization: Normalization) -> (Self, Value) {
        let input = Node { path: "input".into(), op: Op::Input, inputs: Vec::new(), channels: input_channels };
        let mut builder = Self {
            nodes: vec![input],
            paths: HashSet::new(),
            taps: BTreeMap::new(),
            scope: Vec::new(),
            normalization,
            batch_norm_eps: 1e-5,
            error: None,
        };
        builder.check_channels(Value(0));
        (builder, Value(0))
    }

    /// The graph whose result is `output`, or the first mistake in its definition.
    ///
    /// # Errors
    /// [`Error::Graph`] naming the node.
    pub fn finish(self, output: Value) -> Result<Graph> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(Graph { nodes: self.nodes, taps: self.taps, output }),
        }
    }

    /// Runs `define` with `name` added to the path of all nodes that it adds, and makes its result a tap.
    pub fn scope(&mut self, name: impl Into<String>, define: impl FnOnce(&mut Self) -> Value) -> Value {
        self.scope.push(name.into());
        let value = define(self);
        self.taps.insert(self.scope.join("."), value);
        self.scope.pop();
        value
    }

    /// Sets the epsilon of the batch norms that follow.
    pub fn batch_norm_eps(&mut self, eps: f64) {
        self.batch_norm_eps = eps;
    }

    /// The number of channels of a value.
    pub fn channels(&self, value: Value) -> usize {
        self.nodes[value.0].channels
    }

    /// The value of a tap that is already defined, by its full path.
    pub fn tap(&mut self, path: &str) -> Value {
        match self.taps.get(path) {
            Some(&value) => value,
            None => {
                let available = super::taps_near(&self.taps, path);
                self.error.get_or_insert(Error::NoSuchTap { tap: path.to_owned(), available });
                Value(0)
            }
        }
    }

    /// Adds a convolution.
    pub fn conv(&mut self, name: &str, x: Value, conv: Conv) -> Value {
        let channels = self.channels(x);
        let value = self.push(name, Op::Conv(conv), vec![x], conv.out_channels);
        let Conv { kernel, stride, dilation, groups, out_channels, .. } = conv;
        if [kernel, stride, dilation, groups].contains(&0) {
            self.fail(value, "kernel, stride, dilation and groups must be at least 1");
        } else if !channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
            self.fail(value, format!("{channels} → {out_channels} channels do not divide into {groups} groups"));
        }
        value
    }

    /// Adds a convolution with the network's normalisation: batch norm after it, or a bias where the norm is folded.
    pub fn conv_bn(&mut self, name: &str, x: Value, conv: Conv) -> Value {
        self.scope(name, |g| g.normalized(x, conv))
    }

    /// Adds a normalised convolution and its activation.
    pub fn conv_bn_act(&mut self, name: &str, x: Value, conv: Conv, activation: Activation) -> Value {
        self.scope(name, |g| {
            let y = g.normalized(x, conv);
            g.activation(y, activation)
        })
    }

    fn normalized(&mut self, x: Value, conv: Conv) -> Value {
        match self.normalization {
            Normalization::BatchNorm => {
                let y = self.conv("", x, conv);
                let eps = self.batch_norm_eps;
                self.push("bn", Op::BatchNorm { eps }, vec![y], conv.out_channels)
            }
            Normalization::Folded => self.conv("", x, conv.with_bias()),
        }
    }

    /// Adds an activation. It is a tap as well: code bases differ in whether they take features before or after it.
    pub fn activation(&mut self, x: Value, activation: Activation) -> Value {
        let name = match activation {
            Activation::Relu => "relu",
            Activation::Relu6 => "relu6",
            Activation::HardSwish => "hard_swish",
            Activation::HardSigmoid => "hard_sigmoid",
        };
        let value = self.push(name, Op::Activation(activation), vec![x], self.channels(x));
        self.taps.insert(self.nodes[value.0].path.clone(), value);
        value
    }

    /// Adds the sum of two values.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        let (ca, cb) = (self.channels(a), self.channels(b));
        let value = self.push("add", Op::Add, vec![a, b], ca);
        if ca != cb {
            self.fail(value, format!("adds {ca} channels to {cb}"));
        }
        value
    }

    /// Adds the product of `x` and `weights`, which have the same shape or one value for each channel (`[N, C, 1, 1]`).
    pub fn multiply(&mut self, x: Value, weights: Value) -> Value {
        let (cx, cw) = (self.channels(x), self.channels(weights));
        let value = self.push("multiply", Op::Multiply, vec![x, weights], cx);
        if cx != cw {
            self.fail(value, format!("multiplies {cx} channels by {cw}"));
        }
        value
    }

    /// Adds the concatenation of values along the channels.
    pub fn concat(&mut self, values: &[Value]) -> Value {
        let channels = values.iter().fold(0, |sum: usize, &v| sum.saturating_add(self.channels(v)));
        let value = self.push("concat", Op::Concat, values.to_vec(), channels);
        if values.is_empty() {
            self.fail(value, "concatenates nothing");
        }
        value
    }

    /// Adds the bilinear resize of `x` to the height and width of `like`.
    pub fn resize(&mut self, x: Value, like: Value, align_corners: bool) -> Value {
        self.push("resize", Op::Resize { align_corners }, vec![x, like], self.channels(x))
    }

    /// Adds the maximum over a square window.
    pub fn max_pool(&mut self, name: &str, x: Value, kernel: usize, stride: usize, padding: Padding) -> Value {
        let windows = Windows { kernel, stride, dilation: 1, padding };
        self.push(name, Op::MaxPool(windows), vec![x], self.channels(x))
    }

    /// Adds the mean over height and width.
    pub fn global_pool(&mut self, x: Value) -> Value {
        self.push("pool", Op::GlobalPool, vec![x], self.channels(x))
    }

    /// Adds a node under the current scope; `""` names it after the scope itself.
    fn push(&mut self, name: &str, op: Op, inputs: Vec<Value>, channels: usize) -> Value {
        let mut path = self.scope.join(".");
        if !name.is_empty() {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
        }
        let parametric = matches!(op, Op::Conv(_) | Op::BatchNorm { .. });
        let fresh = !parametric || self.paths.insert(path.clone());
        let value = Value(self.nodes.len());
        self.nodes.push(Node { path, op, inputs, channels });
        if !fresh {
            self.fail(value, "is defined twice, so two layers would share its weights");
        }
        self.check_channels(value);
        value
    }

    fn check_channels(&mut self, value: Value) {
        let channels = self.nodes[value.0].channels;
        if channels == 0 || channels > MAX_CHANNELS {
            self.fail(value, format!("has {channels} channels; it must have between 1 and {MAX_CHANNELS}"));
        }
    }

    fn fail(&mut self, value: Value, reason: impl Into<String>) {
        let node = self.nodes[value.0].path.clone();
        self.error.get_or_insert(Error::Graph { node, reason: reason.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(define: impl FnOnce(&mut Builder, Value) -> Value) -> String {
        let (mut g, image) = Builder::new(3, Normalization::BatchNorm);
        let value = g.scope("net", |g| define(g, image));
        g.finish(value).unwrap_err().to_string()
    }

    #[test]
    fn an_input_of_no_channels_or_too_many_is_an_error() {
        for channels in [0, MAX_CHANNELS + 1] {
            let (mut g, image) = Builder::new(channels, Normalization::BatchNorm);
            let x = g.conv("conv", image, Conv::pointwise(4));
            let said = g.finish(x).unwrap_err().to_string();
            assert!(said.contains("input") && said.contains(&format!("has {channels} channels")), "{said}");
        }
    }

    #[test]
    fn mistakes_name_their_node() {
        let groups = error(|g, x| g.conv("c", x, Conv { groups: 2, ..Conv::dense(4, 3) }));
        assert_eq!(groups, "network node `net.c`: 3 → 4 channels do not divide into 2 groups");
        let stride = error(|g, x| g.conv("c", x, Conv::dense(4, 3).stride(0)));
        assert_eq!(stride, "network node `net.c`: kernel, stride, dilation and groups must be at least 1");
        let channels = error(|g, x| g.conv("c", x, Conv::dense(0, 3)));
        assert_eq!(channels, "network node `net.c`: has 0 channels; it must have between 1 and 1048576");
        let sum = error(|g, x| {
            let y = g.conv("c", x, Conv::dense(4, 3));
            g.add(x, y)
        });
        assert_eq!(sum, "network node `net.add`: adds 3 channels to 4");
        let product = error(|g, x| {
            let y = g.conv("c", x, Conv::dense(4, 3));
            g.multiply(x, y)
        });
        assert_eq!(product, "network node `net.multiply`: multiplies 3 channels by 4");
        let twice = error(|g, x| {
            let y = g.conv("c", x, Conv::dense(3, 3));
            g.conv("c", y, Conv::dense(3, 3))
        });
        assert!(twice.starts_with("network node `net.c`: is defined twice"), "{twice}");
    }

    #[test]
    fn the_first_mistake_is_the_one_reported() {
        let first = error(|g, x| {
            let y = g.conv("first", x, Conv::dense(4, 0));
            g.conv("second", y, Conv::dense(4, 0))
        });
        assert!(first.contains("net.first"), "{first}");
    }

    #[test]
    fn a_mistyped_tap_is_shown_its_neighbours() {
        let unknown = error(|g, x| {
            let x = g.scope("block1", |g| g.conv_bn("conv1", x, Conv::dense(4, 3)));
            g.tap("net.block1.conv2");
            x
        });
        assert_eq!(unknown, "the network has no tap `net.block1.conv2`; it has net.block1.conv1");
    }

    #[test]
    fn a_folded_norm_is_a_bias() {
        let (mut g, image) = Builder::new(3, Normalization::Folded);
        let x = g.conv_bn("conv", image, Conv::dense(4, 3));
        let names: Vec<String> = g.finish(x).unwrap().params().into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["conv.weight", "conv.bias"]);
    }

    #[test]
    fn a_map_that_a_window_does_not_fit_is_an_error_that_names_the_node() {
        let (mut g, image) = Builder::new(3, Normalization::Folded);
        let x = g.conv("valid", image, Conv::dense(4, 7).padding(Padding::Symmetric(0)));
        let graph = g.finish(x).unwrap();
        assert!(graph.sizes(7, 7).is_ok());
        let error = graph.sizes(7, 6).unwrap_err().to_string();
        assert_eq!(error, "network node `valid`: its window does not fit an input of 7×6");
    }

    #[test]
    fn a_product_is_of_one_size_or_of_a_weight_a_channel() {
        let product = |stride| {
            let (mut g, image) = Builder::new(3, Normalization::Folded);
            let gate = g.conv("gate", image, Conv::dense(3, 3).stride(stride));
            let x = g.multiply(image, gate);
            g.finish(x).unwrap()
        };
        assert!(product(1).sizes(8, 9).is_ok());
        assert!(product(9).sizes(8, 9).is_ok());
        let error = product(2).sizes(8, 9).unwrap_err().to_string();
        assert_eq!(error, "network node `multiply`: joins maps of 8×9 and 4×5");
        let wide_gate = {
            let (mut g, image) = Builder::new(3, Normalization::Folded);
            let pooled = g.global_pool(image);
            let x = g.multiply(pooled, image);
            g.finish(x).unwrap()
        };
        assert!(wide_gate.sizes(8, 9).is_err());
    }
}
