//! Strides, dilations and the input size of a TensorFlow graph.
//!
//! TensorFlow writes an atrous convolution in two ways: as the attribute `dilations`, or as a plain
//! convolution between SpaceToBatchND and BatchToSpaceND, whose block shape is the rate.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::protobuf::NoMessage;
use super::tensor::{ConvGeometry, Geometry, positive};
use super::tf_const::Constant;
use super::tf_node::Node;
use crate::format::Format;
use crate::{Error, Result};

/// How many identities may stand between a constant and its use; guards against a cycle.
const MAX_CHAIN: usize = 16;

type Nodes<'a> = HashMap<&'a str, &'a Node<'a>>;

/// The node that an input names: `^node` and `node:0` are ways to write `node`.
pub(crate) fn node_of(input: &str) -> &str {
    let input = input.strip_prefix('^').unwrap_or(input);
    input.split_once(':').map_or(input, |(node, _)| node)
}

/// What the graph tells of its convolutions and of its image input.
pub(crate) fn geometry(
    path: &Path,
    nodes: &[Node],
    by_name: &Nodes,
    constants: &BTreeMap<String, Constant>,
) -> Result<Geometry> {
    let cut = |NoMessage| Error::Malformed {
        path: path.to_owned(),
        format: Format::TfGraphDef,
        what: "an attribute of its nodes is cut short".into(),
    };
    let mut geometry = Geometry::default();
    for placeholder in nodes.iter().filter(|node| node.op == "Placeholder") {
        geometry.input_size = geometry.input_size.or(input_size(placeholder).map_err(cut)?);
    }
    for node in nodes.iter().filter(|node| matches!(node.op, "Conv2D" | "DepthwiseConv2dNative")) {
        let malformed = || Error::Malformed {
            path: path.to_owned(),
            format: Format::TfGraphDef,
            what: format!("the strides or dilations of `{}` are not four positive numbers", node.name),
        };
        let stride = spatial(node, "strides").map_err(cut)?.ok_or_else(malformed)?;
        let dilation = spatial(node, "dilations").map_err(cut)?.ok_or_else(malformed)?;
        let Some(weights) = source(node, 1, by_name).filter(|weights| weights.op == "Const") else {
            continue;
        };
        let block = match source(node, 0, by_name).filter(|data| data.op == "SpaceToBatchND") {
            None => (1, 1),
            Some(data) => {
                let shape = source(data, 1, by_name);
                let shape = shape.and_then(|shape| constants.get(shape.name)?.size_pair(path, shape.name));
                // A rate that the graph computes is not known, and a guess would be wrong.
                let Some(block) = shape else { continue };
                block
            }
        };
        let conv = ConvGeometry { stride, dilation }.between_blocks(block).ok_or_else(malformed)?;
        if !geometry.record(weights.name, conv) {
            return Err(Error::GeometryConflict { path: path.to_owned(), tensor: weights.name.to_owned() });
        }
    }
    Ok(geometry)
}

/// The node that an input comes from, behind any identities.
fn source<'a>(node: &Node, input: usize, by_name: &Nodes<'a>) -> Option<&'a Node<'a>> {
    let mut from = *by_name.get(node_of((*node.inputs.get(input)?)?))?;
    for _ in 0..MAX_CHAIN {
        if from.op != "Identity" {
            return Some(from);
        }
        from = by_name.get(node_of(from.inputs[0]?))?;
    }
    None
}

/// The vertical and horizontal one of four numbers; (1, 1) where the attribute is absent, as `dilations` is
/// in graphs from before 2018. `None` when they are no such numbers.
fn spatial(node: &Node, attribute: &str) -> std::result::Result<Option<(usize, usize)>, NoMessage> {
    let list = node.integers(attribute)?;
    let nchw = node.text("data_format")?.is_some_and(|format| format == b"NCHW");
    let (y, x) = match (&list[..], nchw) {
        ([], _) => (1, 1),
        (&[_, y, x, _], false) | (&[_, _, y, x], true) => (y, x),
        _ => return Ok(None),
    };
    Ok(positive(y).zip(positive(x)))
}

/// The height and width of an image placeholder `[N, H, W, 3]` that takes one size only.
fn input_size(node: &Node) -> std::result::Result<Option<(usize, usize)>, NoMessage> {
    let sizes = node.shape("shape")?.unwrap_or_default();
    Ok(match sizes[..] {
        [_, h, w, 3] => positive(h).zip(positive(w)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

    use super::super::tf_node::nodes;
    use super::super::tf_proto::{Dim, Shape};
    use super::*;

    /// `graph.proto`, `node_def.proto` and `attr_value.proto`, to make graphs of.
    #[derive(Clone, PartialEq, Message)]
    struct GraphDef {
        #[prost(message, repeated, tag = "1")]
        node: Vec<NodeDef>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct NodeDef {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        op: String,
        #[prost(string, repeated, tag = "3")]
        input: Vec<String>,
        #[prost(btree_map = "string, message", tag = "5")]
        attr: BTreeMap<String, AttrValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct AttrValue {
        #[prost(message, optional, tag = "1")]
        list: Option<ListValue>,
        #[prost(string, tag = "2")]
        s: String,
        #[prost(message, optional, tag = "7")]
        shape: Option<Shape>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct ListValue {
        #[prost(int64, repeated, tag = "3")]
        i: Vec<i64>,
    }

    fn node(name: &str, op: &str, input: &[&str]) -> NodeDef {
        let input = input.iter().map(|&s| s.to_owned()).collect();
        NodeDef { name: name.into(), op: op.into(), input, attr: BTreeMap::new() }
    }

    fn ints(mut node: NodeDef, attr: &str, i: [i64; 4]) -> NodeDef {
        let list = Some(ListValue { i: i.to_vec() });
        node.attr.insert(attr.into(), AttrValue { list, ..Default::default() });
        node
    }

    /// Two int32, packed in the list of their type.
    fn pair(y: u8, x: u8) -> Constant {
        let proto = [0x08, 0x03, 0x12, 0x04, 0x12, 0x02, 0x08, 0x02, 0x3a, 0x02, y, x];
        Constant::new(Path::new("graph.pb"), "block", Bytes::copy_from_slice(&proto)).unwrap()
    }

    fn of(node: &[NodeDef]) -> Result<Geometry> {
        let file = GraphDef { node: node.to_vec() }.encode_to_vec();
        let nodes = nodes(&file).unwrap();
        let by_name = nodes.iter().map(|node| (node.name, node)).collect();
        let constants = BTreeMap::from([("block".to_owned(), pair(6, 12))]);
        geometry(Path::new("graph.pb"), &nodes, &by_name, &constants)
    }

    #[test]
    fn a_rate_is_an_attribute_or_a_block_shape_or_both() {
        let nodes = [
            node("w", "Const", &[]),
            node("w/read", "Identity", &["w"]),
            node("block", "Const", &[]),
            node("batch", "SpaceToBatchND", &["x", "block", "paddings"]),
            ints(
                ints(node("conv", "Conv2D", &["batch:0", "w/read"]), "strides", [1, 2, 2, 1]),
                "dilations",
                [1, 1, 2, 1],
            ),
        ];
        let expected = ConvGeometry { stride: (2, 2), dilation: (6, 24) };
        assert_eq!(of(&nodes).unwrap().convs, BTreeMap::from([("w".to_owned(), expected)]));
    }

    #[test]
    fn channels_first_graphs_have_their_sizes_at_the_end() {
        let mut conv = ints(node("conv", "Conv2D", &["x", "w"]), "strides", [1, 1, 2, 3]);
        conv.attr.insert("data_format".into(), AttrValue { s: "NCHW".into(), ..Default::default() });
        let geometry = of(&[node("w", "Const", &[]), conv]).unwrap();
        assert_eq!(geometry.convs["w"].stride, (2, 3));
    }

    #[test]
    fn strides_of_zero_are_refused() {
        let conv = ints(node("conv", "Conv2D", &["x", "w"]), "strides", [1, 0, 1, 1]);
        assert!(matches!(of(&[conv]), Err(Error::Malformed { .. })));
    }

    #[test]
    fn a_cycle_of_identities_ends() {
        let nodes = [node("a", "Identity", &["b"]), node("b", "Identity", &["a"]), node("c", "Conv2D", &["a", "b"])];
        assert_eq!(of(&nodes).unwrap(), Geometry::default());
    }

    #[test]
    fn weights_used_in_two_ways_are_refused() {
        let nodes = [
            node("w", "Const", &[]),
            node("c1", "Conv2D", &["x", "w"]),
            ints(node("c2", "Conv2D", &["x", "w"]), "dilations", [1, 2, 2, 1]),
        ];
        assert!(matches!(of(&nodes), Err(Error::GeometryConflict { .. })));
    }

    #[test]
    fn only_a_static_image_input_has_a_size() {
        let placeholder = |dims: [i64; 4]| {
            let mut node = node("image", "Placeholder", &[]);
            let dim = dims.iter().map(|&size| Dim { size }).collect();
            let shape = Some(Shape { dim, unknown_rank: false });
            node.attr.insert("shape".into(), AttrValue { shape, ..Default::default() });
            of(&[node]).unwrap().input_size
        };
        assert_eq!(placeholder([1, 513, 257, 3]), Some((513, 257)));
        assert_eq!(placeholder([1, -1, -1, 3]), None);
    }
}
