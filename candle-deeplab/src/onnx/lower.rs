//! From our nodes to ONNX's operators, at one input size.

use super::Head;
use super::proto::{
    Attribute, AttributeType, DataType, Dimension, NodeProto, Shape, TensorProto, TensorType, TypeProto, ValueInfo,
};
use crate::error::{Error, Result};
use crate::exec::fold::{Folding, Reader};
use crate::graph::{Activation, Graph, Op, Size, Value, Window};

/// A network on its way to ONNX.
pub(super) struct Lowering<'a> {
    graph: &'a Graph,
    sizes: Vec<Size>,
    users: Vec<Vec<Value>>,
    /// The ONNX value that holds each of ours, once it is there.
    names: Vec<Option<String>>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(graph: &'a Graph, (height, width): (usize, usize)) -> Result<Self> {
        let sizes = graph.sizes(height, width)?;
        let (nodes, initializers) = (Vec::new(), Vec::new());
        let names = vec![None; graph.nodes().len()];
        Ok(Self { graph, sizes, users: graph.users(graph.output()), names, nodes, initializers })
    }

    /// The nodes and the weights of everything that the head needs.
    pub(super) fn run(mut self, head: Head, read: &Reader) -> Result<(Vec<NodeProto>, Vec<TensorProto>)> {
        let output = self.graph.output();
        for value in self.graph.values() {
            let needed = value == output || !self.users[value.index()].is_empty();
            if needed && self.names[value.index()].is_none() {
                self.node(value, read)?;
            }
        }
        let found = self.name(output)?;
        match head {
            Head::Logits => self.nodes.push(node("Identity", "logits", vec![found], vec![])),
            Head::Mask => {
                let attributes = vec![int("axis", 1), int("keepdims", 0)];
                self.nodes.push(node("ArgMax", "classes", vec![found], attributes));
                let attributes = vec![int("to", DataType::Uint8 as i64)];
                self.nodes.push(node("Cast", "mask", vec!["classes".into()], attributes));
            }
        }
        Ok((self.nodes, self.initializers))
    }

    fn node(&mut self, value: Value, read: &Reader) -> Result<()> {
        let graph = self.graph;
        let node = graph.node(value);
        let inputs = || node.inputs.iter().map(|x| self.name(*x)).collect::<Result<Vec<_>>>();
        match node.op {
            Op::Input => self.names[value.index()] = Some("input".into()),
            Op::Conv(conv) => {
                self.convolution(value, Folding::conv(graph, value, conv), read)?;
            }
            Op::BatchNorm { eps } => {
                let mut folding = Folding::identity(node.channels);
                folding.batch_norm(value, eps);
                self.convolution(value, folding, read)?;
            }
            Op::Activation(Activation::Relu) => self.push("Relu", value, inputs()?, vec![]),
            Op::Activation(Activation::Relu6) => {
                let mut inputs = inputs()?;
                inputs.extend([self.scalar("zero", 0.0), self.scalar("six", 6.0)]);
                self.push("Clip", value, inputs, vec![]);
            }
            Op::Activation(Activation::HardSwish) => self.push("HardSwish", value, inputs()?, vec![]),
            Op::Activation(Activation::HardSigmoid) => {
                // ONNX's own slope is 0.2.
                let attributes = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
                self.push("HardSigmoid", value, inputs()?, attributes);
            }
            Op::Add => self.push("Add", value, inputs()?, vec![]),
            Op::Multiply => self.push("Mul", value, inputs()?, vec![]),
            Op::Concat => self.push("Concat", value, inputs()?, vec![int("axis", 1)]),
            Op::Resize { .. } if self.size(node.inputs[0]) == self.size(value) => {
                self.names[value.index()] = Some(self.name(node.inputs[0])?);
            }
            Op::Resize { align_corners } => {
                let mode = if align_corners { "align_corners" } else { "half_pixel" };
                let attributes = vec![string("mode", "linear"), string("coordinate_transformation_mode", mode)];
                let Size { height, width } = self.size(value);
                let target = [1, node.channels, height, width].map(|side| side as i64);
                let target =
                    self.tensor(self.fresh(value, "size"), &[4], DataType::Int64, le_bytes(&target, i64::to_le_bytes));
                // Neither a region of interest nor scales.
                let inputs = vec![self.name(node.inputs[0])?, String::new(), String::new(), target];
                self.push("Resize", value, inputs, attributes);
            }
            Op::MaxPool(_) => {
                let attributes = self.windows(value)?;
                self.push("MaxPool", value, inputs()?, attributes);
            }
            Op::GlobalPool => self.push("GlobalAveragePool", value, inputs()?, vec![]),
        }
        Ok(())
    }

    /// A convolution and the batch norms behind it.
    fn convolution(&mut self, value: Value, mut folding: Folding, read: &Reader) -> Result<()> {
        let mut end = value;
        while let [user] = self.users[end.index()][..]
            && let Op::BatchNorm { eps } = self.graph.node(user).op
        {
            folding.batch_norm(user, eps);
            end = user;
        }
        let (conv, inputs, folded) = (folding.conv, folding.group_inputs, folding.read(read)?);
        let (kernel, bias) = (folded.kernels(0..conv.out_channels)?, folded.bias);
        let shape = [conv.out_channels, inputs, conv.kernel, conv.kernel];
        let kernel =
            self.tensor(self.fresh(value, "kernel"), &shape, DataType::Float, le_bytes(&kernel, f32::to_le_bytes));
        let bias =
            self.tensor(self.fresh(value, "bias"), &[bias.len()], DataType::Float, le_bytes(&bias, f32::to_le_bytes));
        let input = self.name(self.graph.node(value).inputs[0])?;
        let mut attributes = match self.graph.node(value).op {
            Op::Conv(_) => self.windows(value)?,
            _ => vec![ints("kernel_shape", [1, 1])],
        };
        attributes.push(int("group", conv.groups as i64));
        self.push("Conv", end, vec![input, kernel, bias], attributes);
        Ok(())
    }

    /// The attributes of a window operation, its padding resolved.
    fn windows(&self, value: Value) -> Result<Vec<Attribute>> {
        let node = self.graph.node(value);
        let misfit = || Error::Graph { node: node.path.clone(), reason: "its window does not fit its input".into() };
        let (vertical, horizontal) =
            node.windows().and_then(|windows| windows.over(self.size(node.inputs[0]))).ok_or_else(misfit)?;
        let both = |side: fn(&Window) -> usize| [side(&vertical), side(&horizontal)];
        let pads = [vertical.before, horizontal.before, vertical.after, horizontal.after];
        Ok(vec![
            ints("kernel_shape", both(|w| w.kernel)),
            ints("strides", both(|w| w.stride)),
            ints("dilations", both(|w| w.dilation)),
            ints("pads", pads),
        ])
    }

    /// Adds an operator whose result is `value`.
    fn push(&mut self, operator: &str, value: Value, inputs: Vec<String>, attributes: Vec<Attribute>) {
        let name = self.fresh(value, &operator.to_lowercase());
        self.nodes.push(node(operator, &name, inputs, attributes));
        self.names[value.index()] = Some(name);
    }

    /// Adds a constant, and returns its name.
    fn tensor(&mut self, name: String, shape: &[usize], kind: DataType, bytes: Vec<u8>) -> String {
        self.initializers.push(TensorProto {
            dims: shape.iter().map(|side| *side as i64).collect(),
            data_type: Some(kind as i32),
            name: Some(name.clone()),
            raw_data: Some(bytes),
        });
        name
    }

    /// A constant that many nodes may share.
    fn scalar(&mut self, name: &str, value: f32) -> String {
        if !self.initializers.iter().any(|tensor| tensor.name.as_deref() == Some(name)) {
            self.tensor(name.into(), &[], DataType::Float, value.to_le_bytes().into());
        }
        name.into()
    }

    /// A name that no other value has: paths alone are not unique.
    fn fresh(&self, value: Value, what: &str) -> String {
        format!("{}.{what}.{}", self.graph.node(value).path, value.index())
    }

    fn name(&self, value: Value) -> Result<String> {
        let path = || self.graph.node(value).path.clone();
        let late = || Error::Graph { node: path(), reason: "is needed before it is computed".into() };
        self.names[value.index()].clone().ok_or_else(late)
    }

    fn size(&self, value: Value) -> Size {
        self.sizes[value.index()]
    }
}

fn node(operator: &str, output: &str, input: Vec<String>, attribute: Vec<Attribute>) -> NodeProto {
    let (name, op_type) = (Some(output.into()), Some(operator.into()));
    NodeProto { input, output: vec![output.into()], name, op_type, attribute }
}

fn int(name: &str, value: i64) -> Attribute {
    let kind = Some(AttributeType::Int as i32);
    Attribute { name: Some(name.into()), i: Some(value), kind, ..Attribute::default() }
}

fn float(name: &str, value: f32) -> Attribute {
    let kind = Some(AttributeType::Float as i32);
    Attribute { name: Some(name.into()), f: Some(value), kind, ..Attribute::default() }
}

fn ints<const N: usize>(name: &str, values: [usize; N]) -> Attribute {
    let kind = Some(AttributeType::Ints as i32);
    Attribute { name: Some(name.into()), ints: values.map(|v| v as i64).into(), kind, ..Attribute::default() }
}

fn string(name: &str, value: &str) -> Attribute {
    let kind = Some(AttributeType::String as i32);
    Attribute { name: Some(name.into()), s: Some(value.into()), kind, ..Attribute::default() }
}

pub(super) fn value_info(name: &str, kind: DataType, shape: &[usize]) -> ValueInfo {
    let dim = shape.iter().map(|side| Dimension { dim_value: Some(*side as i64) }).collect();
    let tensor_type = TensorType { elem_type: Some(kind as i32), shape: Some(Shape { dim }) };
    ValueInfo { name: Some(name.into()), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}

fn le_bytes<const N: usize, T: Copy>(values: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| bytes(*value)).collect()
}
