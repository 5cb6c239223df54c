//! Lowers fused steps to ONNX's operators, at one input size.

use super::Head;
use super::proto::{Attribute, DataType, NodeProto, TensorProto};
use crate::error::{Error, Result};
use crate::exec::fold::{Folded, Reader};
use crate::exec::fuse::{Clamp, Fused, FusedConv, FusedDepthwise, Operand, Operation, Step};
use crate::graph::{Activation, Graph, Size, Value, Window, Windows};

/// The state of lowering a network to ONNX.
pub(super) struct Lowering<'a> {
    graph: &'a Graph,
    fused: &'a Fused,
    /// The size of each node's value.
    sizes: Vec<Size>,
    /// For each map, the results that steps have written to it: the first channel and the ONNX name of each.
    maps: Vec<Vec<(usize, String)>>,
    /// The ONNX name of each map's ReLU, once something has read it.
    rectified: Vec<Option<String>>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(graph: &'a Graph, fused: &'a Fused, size: Size) -> Result<Self> {
        let sizes = graph.sizes(size.height, size.width)?;
        let (mut maps, rectified) = (vec![vec![]; fused.maps.len()], vec![None; fused.maps.len()]);
        maps[0] = vec![(0, "input".into())];
        let (nodes, initializers) = Default::default();
        Ok(Self { graph, fused, sizes, maps, rectified, nodes, initializers })
    }

    /// The nodes and the weights of everything that the head needs.
    pub(super) fn run(mut self, head: Head, read: &Reader) -> Result<(Vec<NodeProto>, Vec<TensorProto>)> {
        for step in &self.fused.steps {
            self.step(step, read)?;
        }
        let (logits, upsampling) = (self.fused.logits, self.fused.output);
        let (from, to) = (self.size(logits), self.sizes[upsampling.like.index()]);
        let logits = (self.value(logits)?, logits.channels);
        let output = self.resize(self.graph.output(), logits, (from, to), upsampling.align_corners);
        match head {
            Head::Logits => self.nodes.push(NodeProto::new("Identity", "logits", vec![output], vec![])),
            Head::Mask => {
                let attributes = vec![Attribute::int("axis", 1), Attribute::int("keepdims", 0)];
                self.nodes.push(NodeProto::new("ArgMax", "classes", vec![output], attributes));
                let attributes = vec![Attribute::int("to", DataType::Uint8 as i64)];
                self.nodes.push(NodeProto::new("Cast", "mask", vec!["classes".into()], attributes));
            }
        }
        Ok((self.nodes, self.initializers))
    }

    fn step(&mut self, step: &Step, read: &Reader) -> Result<()> {
        let &Step { node, input, output, .. } = step;
        let (x, size) = (self.value(input)?, self.size(input));
        let other = step.other.map(|other| self.value(other)).transpose()?;
        let result = match (&step.operation, other) {
            (Operation::Conv { depthwise, conv }, residual) => {
                let (x, size) = match depthwise {
                    Some(depthwise) => self.depthwise(depthwise, input, (x, size), read)?,
                    None => (x, size),
                };
                let (mut result, _) = self.conv(conv, (x, size), read)?;
                if let Some(residual) = residual {
                    result = self.push("Add", node, vec![result, residual], vec![]);
                }
                self.clamped(node, result, conv.clamp)
            }
            (Operation::Depthwise(depthwise), _) => self.depthwise(depthwise, input, (x, size), read)?.0,
            (Operation::Activation(activation), _) => self.activated(node, x, *activation),
            (Operation::Copy, _) => x,
            (Operation::Add, Some(other)) => self.push("Add", node, vec![x, other], vec![]),
            (Operation::Multiply, Some(other)) => self.push("Mul", node, vec![x, other], vec![]),
            (Operation::Resize { align_corners }, _) => {
                self.resize(node, (x, input.channels), (size, self.size(output)), *align_corners)
            }
            (Operation::MaxPool(windows), _) => {
                let (attributes, _) = self.windows(node, *windows, size)?;
                self.push("MaxPool", node, vec![x], attributes)
            }
            (Operation::GlobalPool, _) => self.push("GlobalAveragePool", node, vec![x], vec![]),
            (operation, None) => unreachable!("{operation} of one value"),
        };
        self.maps[output.map].push((output.offset, result));
        Ok(())
    }

    /// Adds a convolution with its bias, and returns its result's name and size.
    fn conv(&mut self, conv: &FusedConv, (x, size): (String, Size), read: &Reader) -> Result<(String, Size)> {
        let &FusedConv { conv: shape, group_inputs, node, .. } = conv;
        let folded = Folded::new(conv, read)?;
        let kernel = folded.kernels(0..shape.out_channels)?;
        let dims = [shape.out_channels, group_inputs, shape.kernel, shape.kernel];
        let kernel = self.constant(TensorProto::floats(self.fresh(node, "kernel"), &dims, &kernel));
        let bias = self.constant(TensorProto::floats(self.fresh(node, "bias"), &[folded.bias.len()], &folded.bias));
        let (mut attributes, size) = self.windows(node, shape.windows(), size)?;
        attributes.push(Attribute::int("group", shape.groups as i64));
        Ok((self.push("Conv", node, vec![x, kernel, bias], attributes), size))
    }

    fn depthwise(
        &mut self,
        depthwise: &FusedDepthwise,
        input: Operand,
        (x, size): (String, Size),
        read: &Reader,
    ) -> Result<(String, Size)> {
        let FusedDepthwise { conv, relu_input } = depthwise;
        let x = if *relu_input { self.rectified(input, x) } else { x };
        let (result, size) = self.conv(conv, (x, size), read)?;
        Ok((self.clamped(conv.node, result, conv.clamp), size))
    }

    /// The ReLU of a map, which several depthwise convolutions may read.
    fn rectified(&mut self, operand: Operand, x: String) -> String {
        if let Some(name) = &self.rectified[operand.map] {
            return name.clone();
        }
        let name = self.fresh(self.fused.maps[operand.map].size_of, "rectified");
        self.nodes.push(NodeProto::new("Relu", &name, vec![x], vec![]));
        self.rectified[operand.map] = Some(name.clone());
        name
    }

    fn activated(&mut self, node: Value, x: String, activation: Activation) -> String {
        match activation {
            Activation::Relu => self.clamped(node, x, Clamp::RELU),
            Activation::Relu6 => self.clamped(node, x, Clamp::RELU6),
            Activation::HardSwish => self.push("HardSwish", node, vec![x], vec![]),
            Activation::HardSigmoid => {
                // ONNX's own slope is 0.2.
                let attributes = vec![Attribute::float("alpha", 1.0 / 6.0), Attribute::float("beta", 0.5)];
                self.push("HardSigmoid", node, vec![x], attributes)
            }
        }
    }

    fn clamped(&mut self, node: Value, x: String, clamp: Clamp) -> String {
        match clamp {
            Clamp::NONE => x,
            Clamp::RELU => self.push("Relu", node, vec![x], vec![]),
            Clamp { low, high } => {
                let bounds = [low, high].map(|bound| self.scalar(bound));
                self.push("Clip", node, [vec![x], bounds.into()].concat(), vec![])
            }
        }
    }

    /// Resizes a value with `channels` channels from one size to another.
    fn resize(
        &mut self,
        node: Value,
        (x, channels): (String, usize),
        (from, to): (Size, Size),
        align_corners: bool,
    ) -> String {
        if from == to {
            return x;
        }
        let mode = if align_corners { "align_corners" } else { "half_pixel" };
        let attributes =
            vec![Attribute::string("mode", "linear"), Attribute::string("coordinate_transformation_mode", mode)];
        let dims = [1, channels, to.height, to.width].map(|side| side as i64);
        let dims = self.constant(TensorProto::integers(self.fresh(node, "size"), &dims));
        // Neither a region of interest nor scales.
        self.push("Resize", node, vec![x, String::new(), String::new(), dims], attributes)
    }

    /// The attributes of a window operation, with its padding resolved, and the size of its result.
    fn windows(&self, node: Value, windows: Windows, size: Size) -> Result<(Vec<Attribute>, Size)> {
        let path = || self.graph.node(node).path.clone();
        let misfit = || Error::Graph { node: path(), reason: "its window does not fit its input".into() };
        let (vertical, horizontal) = windows.over(size).ok_or_else(misfit)?;
        let both = |side: fn(&Window) -> usize| [side(&vertical), side(&horizontal)];
        let pads = [vertical.before, horizontal.before, vertical.after, horizontal.after];
        let attributes = vec![
            Attribute::ints("kernel_shape", both(|w| w.kernel)),
            Attribute::ints("strides", both(|w| w.stride)),
            Attribute::ints("dilations", both(|w| w.dilation)),
            Attribute::ints("pads", pads),
        ];
        Ok((attributes, Size { height: vertical.output, width: horizontal.output }))
    }

    /// Adds an operator, and returns its result's name.
    fn push(&mut self, operator: &str, node: Value, inputs: Vec<String>, attributes: Vec<Attribute>) -> String {
        let name = self.fresh(node, &operator.to_lowercase());
        self.nodes.push(NodeProto::new(operator, &name, inputs, attributes));
        name
    }

    /// Adds a constant, and returns its name.
    fn constant(&mut self, tensor: TensorProto) -> String {
        let name = tensor.name.clone().unwrap_or_default();
        self.initializers.push(tensor);
        name
    }

    /// A scalar constant, which many nodes may share.
    fn scalar(&mut self, value: f32) -> String {
        let name = format!("constant.{value}");
        if !self.initializers.iter().any(|tensor| tensor.name.as_ref() == Some(&name)) {
            self.constant(TensorProto::floats(name.clone(), &[], &[value]));
        }
        name
    }

    /// A name that no other value has: paths alone are not unique.
    fn fresh(&self, node: Value, what: &str) -> String {
        format!("{}.{what}.{}", self.graph.node(node).path, node.index())
    }

    /// The ONNX name of a map, since steps read all of it. If several steps have written to it, it is their
    /// concatenation.
    fn value(&mut self, operand: Operand) -> Result<String> {
        let whole = self.fused.maps[operand.map].size_of;
        let mut parts = std::mem::take(&mut self.maps[operand.map]);
        parts.sort();
        let name = match &parts[..] {
            [] => {
                let (node, reason) = (self.graph.node(whole).path.clone(), "is needed before it is computed".into());
                return Err(Error::Graph { node, reason });
            }
            [(_, name)] => name.clone(),
            _ => {
                let parts = parts.into_iter().map(|(_, name)| name).collect();
                self.push("Concat", whole, parts, vec![Attribute::int("axis", 1)])
            }
        };
        self.maps[operand.map] = vec![(0, name.clone())];
        Ok(name)
    }

    fn size(&self, operand: Operand) -> Size {
        self.sizes[self.fused.maps[operand.map].size_of.index()]
    }
}
