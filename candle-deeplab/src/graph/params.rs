//! The parameters of a network: the names, shapes and roles of its weights.

use candle_nn::Init;
use candle_nn::init::DEFAULT_KAIMING_NORMAL;

use super::{Graph, Node, Op, Value};

/// One tensor of the network's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Its name in `model.safetensors`: the node's path and the role's name.
    pub name: String,
    /// Its shape; kernels are `[out, in / groups, height, width]`.
    pub shape: Vec<usize>,
    /// Its role in the node.
    pub role: Role,
    /// The node it belongs to.
    pub node: Value,
}

/// The role of a parameter in its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A convolution's kernel.
    Kernel,
    /// A convolution's bias.
    Bias,
    /// Batch norm's scale γ.
    Gamma,
    /// Batch norm's offset β.
    Beta,
    /// Batch norm's moving mean.
    Mean,
    /// Batch norm's moving variance.
    Variance,
}

impl Role {
    /// The initialisation for training: He et al. 2015 for kernels, and norms that change nothing.
    pub fn init(self) -> Init {
        match self {
            Self::Kernel => DEFAULT_KAIMING_NORMAL,
            Self::Gamma | Self::Variance => Init::Const(1.0),
            Self::Bias | Self::Beta | Self::Mean => Init::Const(0.0),
        }
    }

    /// Whether an optimiser changes it. Moving statistics follow the data instead.
    pub fn is_trainable(self) -> bool {
        !matches!(self, Self::Mean | Self::Variance)
    }

    /// The last part of the tensor's name, as in PyTorch and candle.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Kernel | Self::Gamma => "weight",
            Self::Bias | Self::Beta => "bias",
            Self::Mean => "running_mean",
            Self::Variance => "running_var",
        }
    }
}

impl Node {
    /// Roles and shapes of this node's weights, given the channels of its input.
    pub(super) fn roles(&self, in_channels: usize) -> Vec<(Role, Vec<usize>)> {
        match self.op {
            Op::Conv(conv) => {
                let kernel = vec![conv.out_channels, in_channels / conv.groups, conv.kernel, conv.kernel];
                let bias = conv.bias.then(|| (Role::Bias, vec![conv.out_channels]));
                std::iter::once((Role::Kernel, kernel)).chain(bias).collect()
            }
            Op::BatchNorm { .. } => {
                [Role::Gamma, Role::Beta, Role::Mean, Role::Variance].map(|role| (role, vec![self.channels])).to_vec()
            }
            _ => Vec::new(),
        }
    }

    /// The name of this node's tensor of one role.
    pub fn param_name(&self, role: Role) -> String {
        format!("{}.{}", self.path, role.suffix())
    }
}

impl Graph {
    /// Every parameter of the network, in node order. A loader takes exactly these.
    pub fn params(&self) -> Vec<Param> {
        let of_node = |(index, node): (usize, &Node)| {
            let in_channels = node.inputs.first().map_or(0, |&x| self.node(x).channels);
            let roles = node.roles(in_channels);
            let param = |(role, shape)| Param { name: node.param_name(role), shape, role, node: Value(index) };
            roles.into_iter().map(param).collect::<Vec<_>>()
        };
        self.nodes.iter().enumerate().flat_map(of_node).collect()
    }
}
