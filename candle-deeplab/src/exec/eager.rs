//! Runs a graph node by node with candle tensors: on any device, with gradients. This executor defines what every node
//! computes; the tests compare the others with it.

use candle_core::{Result, Tensor};

use crate::graph::{Activation, Graph, Node, Op, Param, Size, Value, Window};
use crate::ops;

/// A graph with the weights of its nodes.
#[derive(Debug, Clone)]
pub struct Eager {
    graph: Graph,
    /// Each node's tensors, in the order of its roles.
    weights: Vec<Vec<Tensor>>,
}

impl Eager {
    /// Makes an executor of a graph, whose parameters come from `get`.
    ///
    /// # Errors
    /// Those of `get`.
    pub fn new<E>(
        graph: Graph,
        mut get: impl FnMut(&Param) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<Self, E> {
        let mut weights = vec![Vec::new(); graph.nodes().len()];
        for param in graph.params() {
            weights[param.node.index()].push(get(&param)?);
        }
        Ok(Self { graph, weights })
    }

    /// The network that it runs.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Computes the wanted values, and those that they depend on, for an input `[N, C, H, W]`. A feature map is dropped
    /// after its last use.
    ///
    /// # Errors
    /// Where candle cannot compute a node; the message names it.
    pub fn run(&self, input: &Tensor, wanted: &[Value]) -> Result<Vec<Tensor>> {
        let nodes = self.graph.nodes();
        let mut uses = vec![0usize; nodes.len()];
        for value in wanted {
            uses[value.index()] += 1;
        }
        // Backwards, since the inputs of a needed node are needed, too.
        for (index, node) in nodes.iter().enumerate().rev() {
            if uses[index] > 0 {
                node.inputs.iter().for_each(|x| uses[x.index()] += 1);
            }
        }
        let mut values: Vec<Option<Tensor>> = vec![None; nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            if uses[index] == 0 {
                continue;
            }
            let inputs: Vec<Tensor> = node.inputs.iter().filter_map(|x| values[x.index()].clone()).collect();
            for x in &node.inputs {
                uses[x.index()] -= 1;
                if uses[x.index()] == 0 {
                    values[x.index()] = None;
                }
            }
            let value = compute(node, input, &inputs, &self.weights[index]);
            values[index] = Some(value.map_err(|e| e.context(format!("network node `{}`", node.path)))?);
        }
        let take = |value: &Value| values[value.index()].clone();
        wanted.iter().map(|value| take(value).ok_or_else(|| missing(self.graph.node(*value)))).collect()
    }
}

fn missing(node: &Node) -> candle_core::Error {
    candle_core::Error::Msg(format!("network node `{}` was not computed", node.path))
}

/// Computes the value of a node; `image` is the value of the input.
pub(super) fn compute(node: &Node, image: &Tensor, inputs: &[Tensor], weights: &[Tensor]) -> Result<Tensor> {
    match (node.op, inputs, weights) {
        (Op::Input, [], []) => Ok(image.clone()),
        (Op::Conv(conv), [x], [kernel, bias @ ..]) => {
            let y = ops::conv2d(x, kernel, conv.groups, windows(node, x)?)?;
            match bias {
                [bias] => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
                _ => Ok(y),
            }
        }
        (Op::BatchNorm { eps }, [x], [gamma, beta, mean, variance]) => {
            ops::batch_norm(x, gamma, beta, mean, variance, eps)
        }
        (Op::Activation(Activation::Relu), [x], []) => x.relu(),
        (Op::Activation(Activation::Relu6), [x], []) => x.clamp(0f32, 6f32),
        (Op::Activation(Activation::HardSwish), [x], []) => ops::hard_swish(x),
        (Op::Activation(Activation::HardSigmoid), [x], []) => ops::hard_sigmoid(x),
        (Op::Add, [a, b], []) => a + b,
        (Op::Multiply, [x, weights], []) => x.broadcast_mul(weights),
        (Op::Concat, xs, []) => Tensor::cat(xs, 1),
        (Op::Resize { align_corners }, [x, like], []) => {
            let (_, _, height, width) = like.dims4()?;
            ops::resize_bilinear(x, (height, width), align_corners)
        }
        (Op::MaxPool(_), [x], []) => ops::max_pool2d(x, windows(node, x)?),
        (Op::GlobalPool, [x], []) => x.mean_keepdim((2, 3)),
        (op, ..) => candle_core::bail!("{op:?} with {} inputs and {} weights", inputs.len(), weights.len()),
    }
}

/// The windows of a convolution or a pool over its input.
pub(super) fn windows(node: &Node, x: &Tensor) -> Result<(Window, Window)> {
    let (_, _, height, width) = x.dims4()?;
    let size = Size { height, width };
    let fitted = node.windows().and_then(|windows| windows.over(size));
    fitted.ok_or_else(|| candle_core::Error::Msg(format!("its window does not fit an input of {size}")))
}
