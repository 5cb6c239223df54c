//! From the graph to steps: what is fused with what, and where results are put.
//!
//! A convolution takes in what follows it as long as nothing else needs the value in between: batch norm, then an
//! addition of something that is already there, then an activation that only clamps. A 1×1 convolution also takes in the
//! depthwise convolution before it. A ReLU whose every use is a depthwise convolution happens where those read (the units of
//! Xception, whose skip needs the value without it). What goes only into a concatenation is written there at once.
//!
//! Steps are in the order of the nodes, but for a 1×1 convolution that makes few outputs of a map from long ago (a
//! decoder's projection of low-level features): it runs right behind the map's other uses.
//! Weights are read and packed when all steps are known, by all threads.

use rayon::prelude::*;

use super::conv::{DenseConv, Rows};
use super::depthwise::DepthwiseConv;
use super::isa::{Kernels, Packed};
use super::program::{Kernel, Map, Operand, Program, Resized, Step};
use super::winograd;
use crate::error::{Error, Result};
use crate::exec::choice::Precision;
use crate::exec::fold::{Folding, Reader, conv_of};
use crate::exec::fuse::Clamp;
use crate::graph::{Activation, Graph, Op, Value, Windows};

impl Program {
    /// Lowers a network that ends in logits and their resize, with weights from `read`, packed for these kernels. Matmuls
    /// multiply at this precision; those that can take Winograd's form stay f32: a quarter of the products is worth more
    /// than half the time of each, and the transforms would multiply the error of rounding.
    pub(super) fn new(graph: &Graph, kernels: Kernels, precision: Precision, read: &Reader) -> Result<Self> {
        let output = graph.output();
        let (Op::Resize { align_corners }, &[logits, like]) = (graph.node(output).op, &graph.node(output).inputs[..])
        else {
            return Err(unsupported(graph, output, "the network's last step must be the resize of its logits"));
        };
        let mut lowering = Lowering::new(graph, logits, (kernels, precision));
        for value in graph.values().take(logits.index() + 1) {
            lowering.node(value)?;
        }
        let logits = lowering.operand(logits)?;
        let steps = lowering.steps.into_par_iter().map(|step| step.pack(read)).collect::<Result<_>>()?;
        Ok(Self { maps: lowering.maps, steps, logits, output: Resized { like, align_corners } })
    }
}

fn unsupported(graph: &Graph, value: Value, reason: &str) -> Error {
    Error::Graph { node: graph.node(value).path.clone(), reason: reason.into() }
}

struct Lowering<'a> {
    graph: &'a Graph,
    kernels: Kernels,
    precision: Precision,
    logits: Value,
    /// The nodes that use each value on the way to the logits.
    users: Vec<Vec<Value>>,
    state: Vec<State>,
    maps: Vec<Map>,
    steps: Vec<Unpacked>,
}

/// A step whose weights have not been read.
struct Unpacked {
    path: String,
    pack: Pack,
    input: Operand,
    other: Option<Operand>,
    output: Operand,
}

/// Makes a step's kernel.
type Pack = Box<dyn FnOnce(&Reader) -> Result<Kernel> + Send>;

impl Unpacked {
    fn pack(self, read: &Reader) -> Result<Step> {
        let Self { path, pack, input, other, output } = self;
        Ok(Step { path, kernel: pack(read)?, input, other, output })
    }
}

/// What has become of a node.
#[derive(Clone, Copy)]
enum State {
    Waiting,
    /// Part of a step that computes a later node.
    Absorbed,
    /// A ReLU that happens where its operand is read.
    Relu(Operand),
    Ready(Operand),
    /// A concatenation that is not complete yet.
    Partly(Operand),
}

/// A convolution with what it has taken in behind it.
struct Chain {
    folding: Folding,
    residual: Option<Operand>,
    clamp: Clamp,
    /// The node whose value comes out.
    end: Value,
}

impl<'a> Lowering<'a> {
    fn new(graph: &'a Graph, logits: Value, (kernels, precision): (Kernels, Precision)) -> Self {
        let users = graph.users(logits);
        let state = vec![State::Waiting; graph.nodes().len()];
        Self { graph, kernels, precision, logits, users, state, maps: Vec::new(), steps: Vec::new() }
    }

    fn node(&mut self, value: Value) -> Result<()> {
        let graph = self.graph;
        let node = graph.node(value);
        let needed = value == self.logits || !self.users[value.index()].is_empty() || node.op == Op::Input;
        if !needed || !matches!(self.state[value.index()], State::Waiting | State::Partly(_)) {
            return Ok(());
        }
        match node.op {
            Op::Input => {
                let input = self.new_map(value);
                self.state[value.index()] = State::Ready(input);
            }
            Op::Conv(conv) => {
                self.convolution(value, Folding::conv(graph, value, conv))?;
            }
            Op::BatchNorm { eps } => {
                let mut folding = Folding::identity(node.channels);
                folding.batch_norm(value, eps);
                self.convolution(value, folding)?;
            }
            Op::Activation(activation) => {
                let x = self.operand(node.inputs[0])?;
                let users = &self.users[value.index()];
                let read_by_depthwise = !users.is_empty() && users.iter().all(|user| self.is_depthwise(*user));
                if activation == Activation::Relu && read_by_depthwise && value != self.logits {
                    self.state[value.index()] = State::Relu(x);
                    return Ok(());
                }
                let kernel = match activation {
                    Activation::Relu => Kernel::Clamp(Clamp::RELU),
                    Activation::Relu6 => Kernel::Clamp(Clamp::RELU6),
                    Activation::HardSwish => Kernel::HardSwish,
                    Activation::HardSigmoid => Kernel::HardSigmoid,
                };
                self.step(value, value, ready(kernel), x, None);
            }
            Op::Add => {
                let (a, b) = (self.operand(node.inputs[0])?, self.operand(node.inputs[1])?);
                self.step(value, value, ready(Kernel::Add), a, Some(b));
            }
            Op::Multiply => {
                let (x, weights) = (self.operand(node.inputs[0])?, self.operand(node.inputs[1])?);
                self.step(value, value, ready(Kernel::Multiply), x, Some(weights));
            }
            Op::Concat => {
                let mut offset = 0;
                for &x in &node.inputs {
                    let (to, from) = (self.concat_part(value, offset, x), self.operand(x)?);
                    offset += to.channels;
                    if to.map != from.map {
                        let path = node.path.clone();
                        self.push(path, ready(Kernel::Clamp(Clamp::NONE)), from, None, to);
                    }
                }
                if let State::Partly(whole) = self.state[value.index()] {
                    self.state[value.index()] = State::Ready(whole);
                }
            }
            Op::Resize { align_corners } => {
                let x = self.operand(node.inputs[0])?;
                self.step(value, value, ready(Kernel::Resize { align_corners }), x, None);
            }
            Op::MaxPool(windows) => {
                let x = self.operand(node.inputs[0])?;
                self.step(value, value, ready(Kernel::MaxPool(windows)), x, None);
            }
            Op::GlobalPool => {
                let x = self.operand(node.inputs[0])?;
                self.step(value, value, ready(Kernel::GlobalPool), x, None);
            }
        }
        Ok(())
    }

    /// A convolution, or a batch norm in its form, with all that it can take in.
    fn convolution(&mut self, value: Value, folding: Folding) -> Result<()> {
        let x = self.graph.node(value).inputs[0];
        let windows = folding.conv.windows();
        if !folding.is_depthwise() {
            let (x, chain) = (self.operand(x)?, self.chain(value, folding, true));
            self.dense(value, x, chain, None, windows);
            return Ok(());
        }
        let (x, relu_input) = match self.state[x.index()] {
            State::Relu(x) => (x, true),
            _ => (self.operand(x)?, false),
        };
        let Chain { folding, clamp, end, .. } = self.chain(value, folding, false);
        let depthwise = Depthwise { folding, relu_input, clamp };
        match self.sole_user(end).and_then(|user| Some((user, conv_of(self.graph, user)?))) {
            Some((user, conv)) if conv.groups == 1 && conv.windows().is_pointwise() => {
                self.state[end.index()] = State::Absorbed;
                let chain = self.chain(user, Folding::conv(self.graph, user, conv), true);
                self.dense(user, x, chain, Some(depthwise), windows);
            }
            _ => {
                let pack = move |read: &Reader| Ok(Kernel::Depthwise(depthwise.read(read)?, windows));
                self.step(value, end, Box::new(pack), x, None);
            }
        }
        Ok(())
    }

    /// What a convolution takes in behind it.
    fn chain(&mut self, value: Value, mut folding: Folding, add: bool) -> Chain {
        let (mut end, mut residual, mut clamp) = (value, None, None);
        while let Some(user) = self.sole_user(end) {
            match self.graph.node(user).op {
                Op::BatchNorm { eps } if residual.is_none() && clamp.is_none() => folding.batch_norm(user, eps),
                Op::Add if add && residual.is_none() && clamp.is_none() => {
                    let other = self.graph.node(user).inputs.iter().find(|x| **x != end);
                    let Some(State::Ready(other)) = other.map(|x| self.state[x.index()]) else { break };
                    residual = Some(other);
                }
                Op::Activation(Activation::Relu) if clamp.is_none() => clamp = Some(Clamp::RELU),
                Op::Activation(Activation::Relu6) if clamp.is_none() => clamp = Some(Clamp::RELU6),
                _ => break,
            }
            self.state[end.index()] = State::Absorbed;
            end = user;
        }
        Chain { folding, residual, clamp: clamp.unwrap_or(Clamp::NONE), end }
    }

    /// A dense convolution: a step for each group, which has its own channels of the input and the output.
    fn dense(&mut self, value: Value, x: Operand, chain: Chain, depthwise: Option<Depthwise>, windows: Windows) {
        let Chain { folding, residual, clamp, end } = chain;
        let (groups, inputs, taps) = (folding.conv.groups, folding.group_inputs, folding.conv.kernel.pow(2));
        let (outputs, width) = (folding.conv.out_channels / groups, self.kernels.panel_width());
        let may_move = depthwise.is_none() && residual.is_none() && groups == 1 && windows.is_pointwise();
        // What lives on must be worth the copy into a concatenation: half of what does not, or less.
        let early = if may_move && 2 * outputs <= inputs { self.early(value, x) } else { None };
        // In its place in the concatenation it would keep all of that in memory.
        let output = if early.is_some() { self.new_map(end) } else { self.place(end) };
        let tiles = winograd::suits(&folding, self.kernels, self.precision);
        let precision = if tiles { Precision::F32 } else { self.precision };
        let padded = Packed::padded(precision, inputs);
        for group in 0..groups {
            let (folding, depthwise, first) = (folding.clone(), depthwise.clone(), group * outputs);
            let pack = move |read: &Reader| {
                let folded = folding.read(read)?;
                let rows = match depthwise {
                    Some(depthwise) => Rows::Depthwise(depthwise.read(read)?),
                    None => Rows::Window,
                };
                let bias = &folded.bias[first..first + outputs];
                let weights = Packed::new(precision, width, taps * padded, bias, |outputs| {
                    let kernels = folded.kernels(first + outputs.start..first + outputs.end)?;
                    if (taps, padded) == (1, inputs) {
                        return Ok(kernels);
                    }
                    let mut rows = vec![0.0; outputs.len() * taps * padded];
                    let kernels = kernels.chunks_exact(taps * inputs);
                    for (row, kernel) in rows.chunks_exact_mut(taps * padded).zip(kernels) {
                        for (tap, row) in row.chunks_exact_mut(padded).enumerate() {
                            row.iter_mut().zip(kernel.chunks_exact(taps)).for_each(|(to, window)| *to = window[tap]);
                        }
                    }
                    Ok(rows)
                })?;
                Ok(Kernel::Dense(DenseConv { weights, rows, clamp, tiles }, windows))
            };
            let path = self.graph.node(value).path.clone();
            let residual = residual.map(|residual| residual.part(group, groups));
            let (input, output) = (x.part(group, groups), output.part(group, groups));
            let step = Unpacked { path, pack: Box::new(pack), input, other: residual, output };
            self.steps.insert(early.unwrap_or(self.steps.len()), step);
        }
        self.state[end.index()] = State::Ready(output);
    }

    /// Where among the steps a node that is the last to read an earlier map could be computed: right behind the map's other
    /// uses. What is small and made there spares the map from being kept until now.
    fn early(&self, value: Value, x: Operand) -> Option<usize> {
        let last =
            self.users[self.graph.node(value).inputs[0].index()].iter().all(|user| user.index() <= value.index());
        let uses = |step: &Unpacked| {
            [Some(step.input), step.other, Some(step.output)].into_iter().flatten().any(|o| o.map == x.map)
        };
        let early = self.steps.iter().rposition(uses)? + 1;
        (last && early < self.steps.len()).then_some(early)
    }

    /// A step that computes `end` and is called after `value`.
    fn step(&mut self, value: Value, end: Value, pack: Pack, input: Operand, other: Option<Operand>) {
        let (path, output) = (self.graph.node(value).path.clone(), self.place(end));
        self.push(path, pack, input, other, output);
        self.state[end.index()] = State::Ready(output);
    }

    fn push(&mut self, path: String, pack: Pack, input: Operand, other: Option<Operand>, output: Operand) {
        self.steps.push(Unpacked { path, pack, input, other, output });
    }

    /// Where a node's result is put: in a concatenation, if it goes nowhere else, or in a map of its own.
    fn place(&mut self, value: Value) -> Operand {
        match self.sole_user(value) {
            Some(user) if self.graph.node(user).op == Op::Concat => {
                let before = self.graph.node(user).inputs.iter().take_while(|x| **x != value);
                let offset = before.map(|x| self.graph.node(*x).channels).sum();
                self.concat_part(user, offset, value)
            }
            _ => self.new_map(value),
        }
    }

    /// The part of a concatenation's map that one of its inputs is for.
    fn concat_part(&mut self, concat: Value, offset: usize, input: Value) -> Operand {
        let whole = match self.state[concat.index()] {
            State::Partly(whole) => whole,
            _ => self.new_map(concat),
        };
        self.state[concat.index()] = State::Partly(whole);
        Operand { offset, channels: self.graph.node(input).channels, ..whole }
    }

    fn new_map(&mut self, value: Value) -> Operand {
        let channels = self.graph.node(value).channels;
        self.maps.push(Map { size_of: value, channels });
        Operand { map: self.maps.len() - 1, offset: 0, channels }
    }

    fn operand(&self, value: Value) -> Result<Operand> {
        match self.state[value.index()] {
            State::Ready(operand) => Ok(operand),
            _ => Err(unsupported(self.graph, value, "is needed before it is computed")),
        }
    }

    /// The only use of a value that nothing else wants.
    fn sole_user(&self, value: Value) -> Option<Value> {
        match self.users[value.index()][..] {
            [user] if value != self.logits => Some(user),
            _ => None,
        }
    }

    fn is_depthwise(&self, value: Value) -> bool {
        let channels = |x: Value| self.graph.node(x).channels;
        conv_of(self.graph, value).is_some_and(|conv| conv.is_depthwise(channels(self.graph.node(value).inputs[0])))
    }
}

/// A depthwise convolution whose weights have not been read.
#[derive(Clone)]
struct Depthwise {
    folding: Folding,
    relu_input: bool,
    clamp: Clamp,
}

impl Depthwise {
    fn read(&self, read: &Reader) -> Result<DepthwiseConv> {
        let folded = self.folding.read(read)?;
        let (kernels, taps) = (folded.kernels(0..folded.bias.len())?, self.folding.conv.kernel.pow(2));
        let weights = (0..taps).flat_map(|tap| kernels.chunks_exact(taps).map(move |window| window[tap])).collect();
        Ok(DepthwiseConv { weights, bias: folded.bias, relu_input: self.relu_input, clamp: self.clamp })
    }
}

/// A kernel without weights.
fn ready(kernel: Kernel) -> Pack {
    Box::new(|_| Ok(kernel))
}
