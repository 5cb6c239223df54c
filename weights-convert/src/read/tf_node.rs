//! The nodes of a GraphDef, where they lie in the file.
//!
//! Sources: `graph.proto`, `node_def.proto`, `attr_value.proto`, `tensor_shape.proto` of `tensorflow/core`.

use std::str;

use super::protobuf::{Fields, NoMessage, Wire, integers, last};
use super::tensor::MAX_RANK;

/// Far more than any network has; the largest published DeepLab graphs have a few thousand.
const MAX_NODES: usize = 1 << 18;

/// A node. Of its inputs only the first two matter here: the data and the weights of a convolution.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    pub(crate) name: &'a str,
    pub(crate) op: &'a str,
    pub(crate) inputs: [Option<&'a str>; 2],
    message: &'a [u8],
}

/// The nodes of a GraphDef, or what is wrong with it.
pub(crate) fn nodes(file: &[u8]) -> Result<Vec<Node<'_>>, String> {
    const NODE: u64 = 1;
    let cut = |NoMessage| "it is cut short or no protobuf".to_owned();
    let mut nodes = Vec::new();
    for field in Fields::of(file) {
        if let (NODE, Wire::Bytes(message)) = field.map_err(cut)? {
            if nodes.len() >= MAX_NODES {
                return Err(format!("it has more than {MAX_NODES} nodes"));
            }
            let node = Node::new(message).map_err(|what| format!("its node {}: {what}", nodes.len()))?;
            nodes.push(node);
        }
    }
    Ok(nodes)
}

/// What is wrong with a message within the graph, in words.
const CUT: &str = "it is cut short or no protobuf";

impl<'a> Node<'a> {
    fn new(message: &'a [u8]) -> Result<Self, &'static str> {
        let text = |bytes| str::from_utf8(bytes).map_err(|_| "a name is not UTF-8");
        let mut node = Self { name: "", op: "", inputs: [None; 2], message };
        for field in Fields::of(message) {
            match field.map_err(|NoMessage| CUT)? {
                (1, Wire::Bytes(name)) => node.name = text(name)?,
                (2, Wire::Bytes(op)) => node.op = text(op)?,
                (3, Wire::Bytes(input)) => {
                    if let Some(free) = node.inputs.iter_mut().find(|input| input.is_none()) {
                        *free = Some(text(input)?);
                    }
                }
                _ => {}
            }
        }
        Ok(node)
    }

    /// The value of an attribute: the last of its name, as protobuf's maps have it.
    fn attribute(&self, name: &str) -> Result<Option<&'a [u8]>, NoMessage> {
        const ATTRIBUTE: u64 = 5;
        let mut found = None;
        for field in Fields::of(self.message) {
            if let (ATTRIBUTE, Wire::Bytes(entry)) = field?
                && last(entry, 1)?.unwrap_or_default() == name.as_bytes()
            {
                found = Some(last(entry, 2)?.unwrap_or_default());
            }
        }
        Ok(found)
    }

    /// The tensor of an attribute, as a message.
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<&'a [u8]>, NoMessage> {
        self.attribute(name)?.map_or(Ok(None), |value| last(value, 8))
    }

    /// The text of an attribute.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a [u8]>, NoMessage> {
        self.attribute(name)?.map_or(Ok(None), |value| last(value, 2))
    }

    /// The list of integers of an attribute, and of a longer one than five the first five.
    pub(crate) fn integers(&self, name: &str) -> Result<Vec<i64>, NoMessage> {
        let mut list = Vec::new();
        if let Some(value) = self.attribute(name)?
            && let Some(value) = last(value, 1)?
        {
            integers(value, 3, |integer| {
                list.push(integer.cast_signed());
                list.len() < 5
            })?;
        }
        Ok(list)
    }

    /// The sizes of the shape of an attribute.
    pub(crate) fn shape(&self, name: &str) -> Result<Option<Vec<i64>>, NoMessage> {
        let Some(value) = self.attribute(name)? else { return Ok(None) };
        last(value, 7)?.map(|shape| Ok(sizes(shape)?.0)).transpose()
    }
}

/// The sizes of a TensorShapeProto, of which one more than [`MAX_RANK`] are kept at most, and whether it says that their
/// number is unknown.
pub(crate) fn sizes(shape: &[u8]) -> Result<(Vec<i64>, bool), NoMessage> {
    let (mut sizes, mut unknown_rank) = (Vec::new(), false);
    for field in Fields::of(shape) {
        match field? {
            (2, Wire::Bytes(dim)) => {
                let mut size = 0;
                integers(dim, 1, |value| {
                    size = value.cast_signed();
                    true
                })?;
                if sizes.len() <= MAX_RANK {
                    sizes.push(size);
                }
            }
            (3, Wire::Varint(value)) => unknown_rank = value != 0,
            _ => {}
        }
    }
    Ok((sizes, unknown_rank))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_no_graph() {
        for bytes in [
            &b"\x0a\xff\xff\xff\xff\x0f"[..],
            b"\x0f",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x0a\x02\x0a\x05",
        ] {
            assert!(nodes(bytes).is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn groups_within_groups_do_not_exhaust_the_stack() {
        let node = [0x0b; 100_000]; // group after group begins, and none ends
        let mut file = vec![0x0a];
        prost::encoding::encode_varint(node.len() as u64, &mut file);
        file.extend(node);
        assert!(nodes(&file).is_err());
    }

    #[test]
    fn what_is_not_a_node_is_skipped() {
        // versions { producer: 1645 }, then a node with an op
        let nodes = nodes(b"\x22\x03\x08\xed\x0c\x0a\x03\x12\x01x").unwrap();
        assert_eq!((nodes.len(), nodes[0].op), (1, "x"));
    }

    #[test]
    fn more_dimensions_than_a_weight_has_are_counted_and_not_kept() {
        let shape = [0x12, 0x00].repeat(1000);
        assert_eq!(sizes(&shape).unwrap().0.len(), MAX_RANK + 1);
        assert_eq!(sizes(b"\x12\x02\x08\x05\x18\x01"), Ok((vec![5], true)));
    }
}
