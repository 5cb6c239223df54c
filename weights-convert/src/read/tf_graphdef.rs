//! Frozen TensorFlow graphs: a GraphDef whose weights are Const nodes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use super::file::PlainFile;
use super::reader::{Opened, Reader};
use super::tensor::{MAX_TENSORS, RawTensor, TensorInfo};
use super::tf_const::Constant;
use super::tf_geometry;
use super::tf_node::{Node, nodes};
use super::varint::{take_len, take_varint};
use crate::format::Format;
use crate::{Error, Result};

/// Protobuf's own limit for one message.
const MAX_FILE: u64 = (2 << 30) - 1;

struct FrozenGraph {
    path: PathBuf,
    constants: BTreeMap<String, Constant>,
}

/// Whether a file that begins with `head` can be a GraphDef: its first field is a node, whose first field is
/// a name as TensorFlow allows it.
pub(crate) fn is_graph(head: &[u8]) -> bool {
    const NODE: u64 = 0x0a;
    const NAME: u64 = 0x0a;
    let mut left = head;
    let name = (take_varint(&mut left) == Some(NODE))
        .then(|| take_len(&mut left))
        .flatten()
        .and_then(|_| (take_varint(&mut left) == Some(NAME)).then(|| take_len(&mut left)).flatten())
        .and_then(|len| left.get(..len.min(left.len())));
    let legal = |b: &u8| b.is_ascii_alphanumeric() || b"_.\\-/>".contains(b);
    name.is_some_and(|name| !name.is_empty() && name.iter().all(legal))
}

/// Opens a frozen graph.
pub(crate) fn open(file: &PlainFile) -> Result<Opened> {
    let path = file.path();
    let malformed = |what| Error::Malformed { path: path.to_owned(), format: Format::TfGraphDef, what };
    let bytes = file.read_all(MAX_FILE)?;
    let nodes = nodes(&bytes).map_err(malformed)?;
    if nodes.is_empty() {
        return Err(malformed("it has no nodes".into()));
    }

    let mut constants = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.op == "Const") {
        let value =
            node.tensor("value").map_err(|_| malformed(format!("the constant `{}` is cut short", node.name)))?;
        let value = value.ok_or_else(|| malformed(format!("the constant `{}` has no value", node.name)))?;
        if constants.len() == MAX_TENSORS {
            return Err(malformed(format!("it has more than {MAX_TENSORS} constants")));
        }
        let constant = Constant::new(path, node.name, bytes.slice_ref(value))?;
        if constants.insert(node.name.to_owned(), constant).is_some() {
            return Err(Error::DuplicateTensor { path: path.to_owned(), tensor: node.name.to_owned() });
        }
    }

    let mut by_name: HashMap<&str, &Node> = HashMap::new();
    for node in &nodes {
        if by_name.insert(node.name, node).is_some() {
            return Err(malformed(format!("two of its nodes are named `{}`", node.name)));
        }
    }
    // Freezing leaves the read of a variable `v` behind as an Identity `v/read`.
    let variables: BTreeSet<&str> = (nodes.iter())
        .filter(|node| node.op == "Identity")
        .filter_map(|node| {
            let source = tf_geometry::node_of(node.inputs[0]?);
            (node.name.strip_suffix("/read") == Some(source)).then_some(source)
        })
        .collect();
    let tensors = (constants.iter())
        .map(|(name, constant)| (name.clone(), constant.info(variables.contains(name.as_str()))))
        .collect();
    let geometry = tf_geometry::geometry(path, &nodes, &by_name, &constants)?;
    Ok(Opened {
        bytes: file.len(),
        reader: Box::new(FrozenGraph { path: path.to_owned(), constants }),
        tensors,
        geometry,
        decisions: Vec::new(),
    })
}

impl Reader for FrozenGraph {
    fn read(&self, name: &str, _: &TensorInfo) -> Result<RawTensor> {
        let unknown = || Error::UnknownTensor { path: self.path.clone(), tensor: name.to_owned() };
        self.constants.get(name).ok_or_else(unknown)?.unfold(&self.path, name)
    }

    /// The whole file is in memory, and its values were checked when it was opened.
    fn check(&self, _: &str, _: &TensorInfo) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_is_known_by_its_first_node() {
        assert!(is_graph(b"\x0a\x10\x0a\x05Const\x12\x05Const"));
        assert!(is_graph(b"\x0a\xac\x02\x0a\x07xceptio")); // cut off within the name
        assert!(!is_graph(b"\x0a\x10\x0a\x05Co st\x12\x05Const"));
        assert!(!is_graph(b"\nplain text"));
        assert!(!is_graph(b""));
    }
}
