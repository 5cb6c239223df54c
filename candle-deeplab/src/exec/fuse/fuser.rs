//! Turns a graph's nodes into steps.

use super::{Clamp, FusedConv, FusedDepthwise, Map, Operand, Operation, Places, Step};
use crate::error::{Error, Result};
use crate::graph::{Activation, Graph, Op, Value};

/// The maps and the steps of a graph up to its logits, and where the value of each node is stored, if anywhere.
pub(super) fn fuse(graph: &Graph, logits: Value) -> Result<(Vec<Map>, Vec<Step>, Places)> {
    let (users, state) = (graph.users(logits), vec![State::Waiting; graph.nodes().len()]);
    let mut fuser = Fuser { graph, logits, users, state, maps: Vec::new(), steps: Vec::new() };
    for value in graph.values().take(logits.index() + 1) {
        fuser.node(value)?;
    }
    let place = |state: &State| match state {
        State::Ready(operand) => Some(*operand),
        _ => None,
    };
    let places = fuser.state.iter().map(place).collect();
    Ok((fuser.maps, fuser.steps, places))
}

struct Fuser<'a> {
    graph: &'a Graph,
    logits: Value,
    /// For each value, the nodes that need it on the way to the logits.
    users: Vec<Vec<Value>>,
    state: Vec<State>,
    maps: Vec<Map>,
    steps: Vec<Step>,
}

/// The state of a node's value.
#[derive(Clone, Copy)]
enum State {
    Waiting,
    /// It exists only within the step of a later node.
    Absorbed,
    /// It is the ReLU of this operand, applied where it is read.
    Relu(Operand),
    Ready(Operand),
    /// It is a concatenation, and some of its inputs have been written to their place.
    Partly(Operand),
}

/// A convolution with the nodes behind it that it has absorbed.
struct Chain {
    conv: FusedConv,
    residual: Option<Operand>,
    /// The node whose value it computes.
    end: Value,
}

impl Fuser<'_> {
    fn node(&mut self, value: Value) -> Result<()> {
        let graph = self.graph;
        let node = graph.node(value);
        let needed = value == self.logits || !self.users[value.index()].is_empty() || node.op == Op::Input;
        if !needed || !matches!(self.state[value.index()], State::Waiting | State::Partly(_)) {
            return Ok(());
        }
        let operation = match node.op {
            Op::Input => {
                self.state[value.index()] = State::Ready(self.new_map(value));
                return Ok(());
            }
            Op::Conv(conv) => return self.convolution(value, FusedConv::new(graph, value, conv)),
            Op::BatchNorm { eps } => {
                return self.convolution(value, FusedConv::of_norm(node.channels, value, eps));
            }
            Op::Concat => return self.concat(value),
            Op::Activation(Activation::Relu) if self.only_depthwise_reads(value) => {
                self.state[value.index()] = State::Relu(self.operand(node.inputs[0])?);
                return Ok(());
            }
            Op::Activation(activation) => Operation::Activation(activation),
            Op::Add => Operation::Add,
            Op::Multiply => Operation::Multiply,
            Op::Resize { align_corners } => Operation::Resize { align_corners },
            Op::MaxPool(windows) => Operation::MaxPool(windows),
            Op::GlobalPool => Operation::GlobalPool,
        };
        let input = self.operand(node.inputs[0])?;
        let other = node.reads().get(1).map(|other| self.operand(*other)).transpose()?;
        self.step(value, value, operation, input, other);
        Ok(())
    }

    /// Adds a convolution, or a batch norm in the form of one, with all that it can absorb.
    fn convolution(&mut self, value: Value, conv: FusedConv) -> Result<()> {
        let x = self.graph.node(value).inputs[0];
        if !conv.is_depthwise() {
            let x = self.operand(x)?;
            let chain = self.chain(value, conv, true);
            self.conv(value, x, None, chain);
            return Ok(());
        }
        let (x, relu_input) = match self.state[x.index()] {
            State::Relu(x) => (x, true),
            _ => (self.operand(x)?, false),
        };
        let Chain { conv, end, .. } = self.chain(value, conv, false);
        let depthwise = FusedDepthwise { conv, relu_input };
        match self.sole_user(end).and_then(|user| Some((user, self.conv_of(user)?))) {
            Some((user, conv)) if conv.conv.groups == 1 && conv.conv.windows().is_pointwise() => {
                self.state[end.index()] = State::Absorbed;
                let chain = self.chain(user, conv, true);
                self.conv(user, x, Some(depthwise), chain);
            }
            _ => self.step(value, end, Operation::Depthwise(depthwise), x, None),
        }
        Ok(())
    }

    /// Absorbs what it can behind a convolution; an addition only with `may_add`.
    fn chain(&mut self, value: Value, mut conv: FusedConv, may_add: bool) -> Chain {
        let (mut end, mut residual, mut clamp) = (value, None, None);
        while let Some(user) = self.sole_user(end) {
            match self.graph.node(user).op {
                Op::BatchNorm { eps } if residual.is_none() && clamp.is_none() => conv.norms.push((user, eps)),
                Op::Add if may_add && residual.is_none() && clamp.is_none() => {
                    let other = self.graph.node(user).inputs.iter().find(|x| **x != end);
                    let Some(State::Ready(other)) = other.map(|x| self.state[x.index()]) else { break };
                    residual = Some(other);
                }
                Op::Activation(activation) if clamp.is_none() => match Clamp::of(activation) {
                    None => break,
                    some => clamp = some,
                },
                _ => break,
            }
            self.state[end.index()] = State::Absorbed;
            end = user;
        }
        conv.clamp = clamp.unwrap_or(Clamp::NONE);
        Chain { conv, residual, end }
    }

    fn conv(&mut self, node: Value, input: Operand, depthwise: Option<FusedDepthwise>, chain: Chain) {
        let Chain { conv, residual: other, end } = chain;
        let pointwise = depthwise.is_none() && conv.conv.groups == 1 && conv.conv.windows().is_pointwise();
        // The result that is kept instead has at most half as many channels, which is worth its copy into a
        // concatenation.
        let few = 2 * conv.conv.out_channels <= conv.group_inputs;
        let early = if pointwise && few && other.is_none() { self.early(node, input) } else { None };
        // Written to its place in a concatenation, it would keep the whole concatenation in memory.
        let output = if early.is_some() { self.new_map(end) } else { self.place(end) };
        let step = Step { node, operation: Operation::Conv { depthwise, conv }, input, other, output };
        self.steps.insert(early.unwrap_or(self.steps.len()), step);
        self.state[end.index()] = State::Ready(output);
    }

    /// The position among the steps of a node that is the last to read an earlier map: right after the map's other
    /// uses.
    fn early(&self, node: Value, x: Operand) -> Option<usize> {
        let users = &self.users[self.graph.node(node).inputs[0].index()];
        let last = users.iter().all(|user| user.index() <= node.index());
        let uses = |step: &Step| step.operands().any(|operand| operand.map == x.map);
        let early = self.steps.iter().rposition(uses)? + 1;
        (last && early < self.steps.len()).then_some(early)
    }

    /// Copies those inputs into a concatenation that could not be written to their place.
    fn concat(&mut self, value: Value) -> Result<()> {
        let mut offset = 0;
        for &x in &self.graph.node(value).inputs {
            let (output, input) = (self.concat_part(value, offset, x), self.operand(x)?);
            offset += output.channels;
            if output.map != input.map {
                self.steps.push(Step { node: value, operation: Operation::Copy, input, other: None, output });
            }
        }
        if let State::Partly(whole) = self.state[value.index()] {
            self.state[value.index()] = State::Ready(whole);
        }
        Ok(())
    }

    /// Adds a step that is named after `node` and computes the value of `end`.
    fn step(&mut self, node: Value, end: Value, operation: Operation, input: Operand, other: Option<Operand>) {
        let output = self.place(end);
        self.steps.push(Step { node, operation, input, other, output });
        self.state[end.index()] = State::Ready(output);
    }

    /// Decides where a value is stored: in a concatenation, if nothing else needs it, or in a map of its own.
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

    /// The part of a concatenation's map for one of its inputs.
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
            _ => {
                let (node, reason) = (self.graph.node(value).path.clone(), "is needed before it is computed".into());
                Err(Error::Graph { node, reason })
            }
        }
    }

    /// The only node that needs a value.
    fn sole_user(&self, value: Value) -> Option<Value> {
        match self.users[value.index()][..] {
            [user] if value != self.logits => Some(user),
            _ => None,
        }
    }

    fn only_depthwise_reads(&self, value: Value) -> bool {
        let users = &self.users[value.index()];
        let is_depthwise = |user: &Value| self.conv_of(*user).is_some_and(|conv| conv.is_depthwise());
        value != self.logits && !users.is_empty() && users.iter().all(is_depthwise)
    }

    /// The convolution of a node, if it is one.
    fn conv_of(&self, value: Value) -> Option<FusedConv> {
        match self.graph.node(value).op {
            Op::Conv(conv) => Some(FusedConv::new(self.graph, value, conv)),
            _ => None,
        }
    }
}
