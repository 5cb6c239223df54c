//! What a pass computes, which gradients it needs, and what it keeps for them.

use crate::graph::{Activation, Graph, Node, Op, Value};

use super::mode::Mode;

/// The steps of a pass.
#[derive(Debug)]
pub(super) struct Plan {
    /// The step that computes each node's value; none for values that nothing needs, and for norms that are a part of
    /// their activation's step.
    pub(super) steps: Vec<Option<Step>>,
    /// How many steps of the forward pass read each value; being wanted counts as one more.
    pub(super) uses: Vec<usize>,
    /// By value: the step whose backward pass is the last to read it, after which it is freed. None for values that the
    /// backward pass does not read.
    pub(super) released_by: Vec<Option<usize>>,
}

/// A node, or a batch norm with its activation.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// The values that it reads: the content of those of [`Node::reads`].
    pub(super) inputs: Vec<Value>,
    /// The batch norm, if it is one.
    pub(super) norm: Option<Norm>,
    /// Whether something that is trained depends on the gradient of its value.
    pub(super) differentiates: bool,
    /// The inputs whose gradient is needed.
    pub(super) input_gradients: Vec<bool>,
    /// Whether its own parameters are trained.
    pub(super) trains: bool,
    /// Whether its backward pass needs its own result.
    pub(super) keeps_result: bool,
}

/// A batch norm and the activation after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norm {
    /// Its node.
    pub(super) node: usize,
    pub(super) eps: f64,
    pub(super) activation: Option<Activation>,
    /// Whether it normalises with the statistics of the batch.
    pub(super) of_batch: bool,
}

impl Plan {
    /// `trained` says by node whether one of its parameters gets a gradient.
    pub(super) fn new(graph: &Graph, wanted: &[Value], mode: &Mode, trained: &[bool]) -> Self {
        let nodes = graph.nodes();
        let needed = needed(graph, wanted);
        let mut users = vec![0usize; nodes.len()];
        wanted.iter().for_each(|value| users[value.index()] += 1);
        let computed = || nodes.iter().enumerate().filter(|(index, _)| needed[*index]);
        computed().flat_map(|(_, node)| node.reads()).for_each(|x| users[x.index()] += 1);

        let dropped = |index: usize| mode.dropout.iter().any(|dropout| dropout.value.index() == index);
        let mut steps: Vec<Option<Step>> = vec![None; nodes.len()];
        let mut norms: Vec<Option<Norm>> = vec![None; nodes.len()];
        for (value, node) in graph.values().zip(nodes).filter(|(value, _)| needed[value.index()]) {
            let index = value.index();
            if let Op::BatchNorm { eps } = node.op {
                let of_batch = mode.norms.of_batch(value);
                norms[index] = Some(Norm { node: index, eps, activation: None, of_batch });
            }
            let mut step = Step {
                inputs: node.reads().to_vec(),
                norm: norms[index],
                differentiates: false,
                input_gradients: Vec::new(),
                trains: trained[index],
                keeps_result: false,
            };
            if let (Op::Activation(activation), [x]) = (node.op, &*node.inputs)
                && let Some(norm) = norms[x.index()]
                && users[x.index()] == 1
                && !wanted.contains(x)
                && !dropped(x.index())
                && let Some(of_norm) = steps[x.index()].take()
            {
                step = Step { norm: Some(Norm { activation: Some(activation), ..norm }), ..of_norm };
            }
            let differentiates = |x: &Value| steps[x.index()].as_ref().is_some_and(|step| step.differentiates);
            step.input_gradients = step.inputs.iter().map(differentiates).collect();
            step.differentiates = step.trains || step.input_gradients.contains(&true);
            step.keeps_result = step.differentiates && step.needs_result(node);
            steps[index] = Some(step);
        }

        let mut uses = vec![0; nodes.len()];
        wanted.iter().for_each(|value| uses[value.index()] += 1);
        let mut released_by = vec![None; nodes.len()];
        // Backwards, so that the first reader in the order of the nodes, the last of the backward pass, remains.
        for (index, step) in steps.iter().enumerate().rev() {
            let Some(step) = step else { continue };
            step.inputs.iter().for_each(|x| uses[x.index()] += 1);
            if step.differentiates {
                step.needs_inputs(&nodes[index]).into_iter().for_each(|x| released_by[x.index()] = Some(index));
            }
        }
        Self { steps, uses, released_by }
    }
}

impl Step {
    /// Whether the backward pass of a norm needs no input, but its result for the slope of the activation.
    pub(super) fn is_fixed_norm(&self) -> bool {
        let from_result = |norm: Norm| norm.activation.is_none_or(slope_from_result);
        self.norm.is_some_and(|norm| !norm.of_batch && !self.trains && from_result(norm))
    }

    fn needs_result(&self, node: &Node) -> bool {
        match (self.norm, node.op) {
            (Some(norm), _) => self.is_fixed_norm() && norm.activation.is_some(),
            (None, Op::Activation(activation)) => slope_from_result(activation),
            _ => false,
        }
    }

    /// The inputs that the backward pass needs.
    fn needs_inputs(&self, node: &Node) -> Vec<Value> {
        let needs = match (self.norm, node.op) {
            (Some(_), _) => !self.is_fixed_norm(),
            (None, Op::Activation(activation)) => !slope_from_result(activation),
            (None, Op::Conv(_) | Op::MaxPool(_) | Op::Multiply) => true,
            (None, Op::Input | Op::BatchNorm { .. } | Op::Add | Op::Concat | Op::Resize { .. } | Op::GlobalPool) => {
                false
            }
        };
        if needs { self.inputs.clone() } else { Vec::new() }
    }
}

/// Whether an activation's slope follows from its result.
pub(super) fn slope_from_result(activation: Activation) -> bool {
    matches!(activation, Activation::Relu | Activation::Relu6)
}

/// The nodes that `wanted` depends on.
fn needed(graph: &Graph, wanted: &[Value]) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes().len()];
    wanted.iter().for_each(|value| needed[value.index()] = true);
    for (index, node) in graph.nodes().iter().enumerate().rev() {
        if needed[index] {
            node.reads().iter().for_each(|x| needed[x.index()] = true);
        }
    }
    needed
}
