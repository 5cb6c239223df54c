//! What an optimiser has to know of each parameter.

use candle_deeplab::graph::{Graph, Op, Param, Role};

use super::recipe::Grouping;

/// How an optimiser treats a parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The parameter's name, by which its state is saved.
    pub name: String,
    /// Its learning rate, as a multiple of the schedule's; 0 if it is never changed.
    pub rate: f64,
    /// Whether it decays.
    pub decay: bool,
}

/// The groups of a graph's parameters, in the order of [`Graph::params`]. Running statistics have the rate 0: they
/// follow the data. A network's backbone is everything whose name begins with `backbone.`.
pub fn groups(graph: &Graph, grouping: &Grouping) -> Vec<Group> {
    let of_param = |param: Param| {
        let part = if param.name.starts_with("backbone.") { grouping.backbone_rate } else { grouping.head_rate };
        let rate = match param.role {
            Role::Mean | Role::Variance => 0.0,
            Role::Bias => part * grouping.bias_rate,
            Role::Kernel | Role::Gamma | Role::Beta => part,
        };
        let depthwise = match graph.node(param.node).op {
            Op::Conv(conv) => param.role == Role::Kernel && conv.is_depthwise(param.shape[1] * conv.groups),
            _ => false,
        };
        let decay = match param.role {
            Role::Kernel => grouping.decay_depthwise || !depthwise,
            Role::Bias | Role::Gamma | Role::Beta => grouping.decay_norms_and_biases,
            Role::Mean | Role::Variance => false,
        };
        Group { name: param.name, rate, decay }
    };
    graph.params().into_iter().map(of_param).collect()
}
