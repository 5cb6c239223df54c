//! Frozen graphs made for the test, each wrong in one way.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod read_support;

use read_support::proto::{bytes, constant, int, varint};
use read_support::{error_of, open_bytes};
use weights_convert::Error;

#[test]
fn a_graph_of_one_constant_is_read() {
    let graph = open_bytes("g.pb", &constant("w", 1, &[2], &bytes(4, [0, 0, 128, 63, 0, 0, 0, 64]))).unwrap();
    assert_eq!(graph.read("w").unwrap().to_f32().unwrap(), [1.0, 2.0]);
    assert!(!graph.info("w").unwrap().variable, "nothing reads it");
}

#[test]
fn a_small_file_cannot_unfold_without_limit() {
    let graph = open_bytes("g.pb", &constant("w", 1, &[1 << 50], &[])).unwrap();
    graph.check().unwrap();
    assert!(matches!(graph.read("w"), Err(Error::TensorTooLarge { .. })));
}

#[test]
fn two_nodes_of_one_name_are_refused() {
    let node = constant("w", 1, &[], &[]);
    let err = error_of("g.pb", &[node.clone(), node].concat());
    assert!(matches!(err, Error::DuplicateTensor { .. }), "{err}");
    let no_op = bytes(1, [bytes(1, "n"), bytes(2, "NoOp")].concat());
    let err = error_of("g.pb", &[no_op.clone(), no_op].concat()).to_string();
    assert!(err.contains("two of its nodes are named `n`"), "{err}");
}

#[test]
fn a_constant_without_a_value_is_refused() {
    let err = error_of("g.pb", &bytes(1, [bytes(1, "w"), bytes(2, "Const")].concat())).to_string();
    assert!(err.contains("the constant `w` has no value"), "{err}");
}

#[test]
fn a_wrong_shape_is_refused() {
    assert!(matches!(error_of("g.pb", &constant("w", 1, &[-1], &[])), Error::NegativeDim { .. }));
    assert!(matches!(error_of("g.pb", &constant("w", 1, &[1 << 62, 8], &[])), Error::ShapeOverflow { .. }));
    let short = constant("w", 1, &[2], &bytes(4, [0; 4]));
    assert!(matches!(error_of("g.pb", &short), Error::SizeMismatch { expected: 8, found: 4, .. }));
}

#[test]
fn a_graph_cut_short_is_refused() {
    let graph = constant("weights", 1, &[64], &bytes(4, [0; 256]));
    for n in 14..graph.len() {
        let err = error_of("g.pb", &graph[..n]);
        assert!(matches!(err, Error::Malformed { .. }), "{n} bytes: {err}");
    }
}

#[test]
fn messages_within_messages_do_not_exhaust_the_stack() {
    // attr { value { func { attr { value { func … 20 000 levels deep
    let mut value = Vec::new();
    for _ in 0..20_000 {
        let entry = [bytes(1, "a"), bytes(2, bytes(10, &value))].concat();
        value = bytes(2, entry);
        if value.len() > 1 << 16 {
            break;
        }
    }
    let attr = [bytes(1, "a"), bytes(2, bytes(10, value))].concat();
    let node = bytes(1, [bytes(1, "n"), bytes(2, "NoOp"), bytes(5, attr)].concat());
    open_bytes("g.pb", &node).unwrap(); // fields that are not read are skipped, not descended into

    let groups = [bytes(1, "n"), vec![0x7b; 100_000]].concat(); // field 15, group after group begins
    let err = error_of("g.pb", &bytes(1, groups));
    assert!(matches!(err, Error::Malformed { .. }), "{err}");
}

#[test]
fn garbage_after_the_first_node_is_refused() {
    let node = constant("w", 1, &[], &[]);
    for garbage in [vec![0xff; 11], vec![0x0f], varint(1 << 3 | 2), [varint(1 << 3 | 2), vec![0xff, 0x7f]].concat()] {
        let err = error_of("g.pb", &[node.clone(), garbage].concat());
        assert!(matches!(err, Error::Malformed { .. }), "{err}");
    }
    let fine = [node, bytes(4, int(1, 1645))].concat();
    open_bytes("g.pb", &fine).unwrap();
}

/// Attributes and inputs that nobody reads are not kept, and neither is more than there can be of what is read.
#[test]
fn a_graph_takes_no_more_memory_than_it_says() {
    let attribute = bytes(5, [bytes(1, "a"), bytes(2, "")].concat());
    let node = |i: usize| bytes(1, [bytes(1, i.to_string()), bytes(2, "NoOp"), attribute.clone()].concat());
    let many: Vec<u8> = (0..=1 << 18).flat_map(node).collect();
    assert!(error_of("g.pb", &many).to_string().contains("more than 262144 nodes"));
    let rank = constant("w", 1, &[1; 33], &bytes(4, [0; 4]));
    assert!(error_of("g.pb", &rank).to_string().contains("more than 32 dimensions"));
}

/// Integers of one byte in the file, which are eight in memory, are not unfolded until they are read.
#[test]
fn lists_stay_as_they_are_until_they_are_read() {
    let listed = constant("steps", 9, &[3], &bytes(10, [1, 2, 3]));
    let graph = open_bytes("g.pb", &listed).unwrap();
    let expected: Vec<u8> = [1i64, 2, 3].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(graph.read("steps").unwrap().data, expected);
    let splat = open_bytes("g.pb", &constant("w", 1, &[1 << 23], &bytes(5, 1.5f32.to_le_bytes()))).unwrap();
    assert!(matches!(splat.read("w"), Err(Error::TensorTooLarge { limit, .. }) if limit == 32 << 20));
}
