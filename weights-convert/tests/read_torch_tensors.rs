//! Descriptions of tensors and state dicts made for the test.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod read_support;

use read_support::open_bytes;
use read_support::torch::{ONE, Pickle, error, message, message_of, numbers, values, zip_of};
use weights_convert::Error;

#[test]
fn a_tensor_is_read() {
    let pickle = Pickle::dict("w", |p| p.tensor(ONE, 1, &[2, 2], &[2, 1]));
    assert_eq!(values(&pickle), [1.0, 2.0, 3.0, 4.0]);
}

// ---- tensors ----

#[test]
fn a_view_beyond_its_storage_is_refused() {
    for (offset, shape, strides) in [
        (1, &[6][..], &[1][..]),
        (6, &[1], &[1]),
        (6, &[], &[]),
        (0, &[2, 3], &[4, 1]),
        (0, &[2], &[i64::MAX]),
        (i64::MAX, &[2], &[1]),
    ] {
        let err = message_of(|p| p.tensor(ONE, offset, shape, strides));
        assert!(err.contains("tensor `w`") && err.contains("lead out of its storage"), "{err}");
    }
}

#[test]
fn sizes_below_zero_are_refused() {
    assert!(message_of(|p| p.tensor(ONE, 0, &[2, -3], &[3, 1])).contains("dimension 1 is -3"));
    assert!(message_of(|p| p.tensor(ONE, 0, &[2], &[-1])).contains("dimension 0 is -1"));
    assert!(message_of(|p| p.tensor(ONE, -1, &[2], &[1])).contains("its offset is no position"));
}

#[test]
fn more_elements_than_can_be_counted_are_refused() {
    let err = error(Pickle::dict("w", |p| p.tensor(ONE, 0, &[i64::MAX, i64::MAX], &[0, 0])));
    assert!(matches!(err, Error::ShapeOverflow { .. }), "{err}");
}

#[test]
fn one_element_is_not_shown_a_billion_times() {
    let err = error(Pickle::dict("w", |p| p.tensor(ONE, 0, &[1 << 20, 1 << 20], &[0, 0])));
    assert!(matches!(err, Error::TensorTooLarge { .. }), "{err}");
}

#[test]
fn shapes_and_strides_must_agree() {
    assert!(message_of(|p| p.tensor(ONE, 0, &[6], &[1, 1])).contains("1 dimensions but 2 strides"));
    assert!(message_of(|p| p.tensor(ONE, 0, &[1; 65], &[1; 65])).contains("too many dimensions"));
}

#[test]
fn a_storage_that_is_shorter_than_claimed_is_refused() {
    for claim in [7, 5, 1 << 40] {
        let err = message_of(|p| p.tensor(("0", claim), 0, &[1], &[1]));
        assert!(err.contains(&format!("tensor `w`: its storage `0` should have {} bytes", claim * 4)), "{err}");
    }
}

#[test]
fn a_storage_that_is_not_there_is_named() {
    assert!(message_of(|p| p.tensor(("../0", 6), 0, &[1], &[1])).contains("its storage `../0` is not in the file"));
}

#[test]
fn a_persistent_id_of_another_form_is_refused() {
    for ops in [&b"NQ."[..], b")Q.", b"(NNNNNtQ.", b"X\x01\x00\x00\x000Q."] {
        assert!(message(ops).contains("not described as PyTorch does it"), "{ops:?}");
    }
    let negative = Pickle::new().storage("FloatStorage", "0", -1).op(b".").0;
    assert!(error(negative).to_string().contains("not described as PyTorch does it"));
    let huge = Pickle::new().storage("DoubleStorage", "0", i64::MAX).op(b".").0;
    assert!(error(huge).to_string().contains("not described as PyTorch does it"));
}

#[test]
fn a_tensor_with_too_few_arguments_is_refused() {
    assert!(message_of(|p| p.global("torch._utils", "_rebuild_tensor_v2").op(b")R")).contains("is incomplete"));
    let no_storage = |p: Pickle| p.global("torch._utils", "_rebuild_tensor_v2").op(b"(NK\x00))tR");
    assert!(message_of(no_storage).contains("it lies in no storage"));
}

#[test]
fn a_tensor_that_is_not_read_is_an_error_that_names_it() {
    let quantised = message_of(|p| p.global("torch._utils", "_rebuild_qtensor").op(b")R"));
    assert!(quantised.contains("tensor `w`: it is a quantised tensor"), "{quantised}");
    let array = message_of(|p| p.global("numpy.core.multiarray", "_reconstruct").op(b")R"));
    assert!(array.contains("tensor `w`: it is a numpy array"), "{array}");
}

// ---- state dicts ----

#[test]
fn two_tensors_of_one_name_are_refused() {
    let pickle = Pickle::new().op(b"}(");
    let pickle = pickle.str("w").tensor(ONE, 0, &[1], &[1]).str("w").tensor(ONE, 1, &[1], &[1]).op(b"u.");
    assert!(matches!(error(pickle.0), Error::DuplicateTensor { .. }));
}

#[test]
fn what_is_no_tensor_is_told() {
    let pickle = Pickle::new().op(b"}(").str("w").tensor(ONE, 0, &[6], &[1]).str("epoch").op(b"K\x03u.").0;
    let checkpoint = open_bytes("m.pth", &zip_of(&pickle, &numbers())).unwrap();
    assert_eq!(checkpoint.tensors().count(), 1);
    let [decision] = checkpoint.decisions() else { panic!("{:?}", checkpoint.decisions()) };
    assert_eq!((decision.what, decision.because.as_str()), ("left out", "they are no tensors: epoch (an integer)"));
}

#[test]
fn of_two_unknown_state_dicts_none_is_taken() {
    let state = |p: Pickle, name: &str| p.str(name).op(b"}").str("w").tensor(ONE, 0, &[6], &[1]).op(b"ss");
    let two = state(state(Pickle::new().op(b"}"), "generator"), "critic").op(b".").0;
    let err = error(two);
    assert!(matches!(&err, Error::SeveralStateDicts { candidates, .. } if candidates.len() == 2), "{err}");
    let one = state(Pickle::new().op(b"}"), "generator").op(b".").0;
    assert_eq!(values(&one), numbers());
}

#[test]
fn names_are_of_sound_length_and_printable() {
    let long = "x".repeat(2000);
    assert!(
        error(Pickle::dict(&long, |p| p.tensor(ONE, 0, &[1], &[1]))).to_string().contains("its name is a long string")
    );
    let err = error(Pickle::dict("w\x1b[2J", |p| p.tensor(ONE, 0, &[1], &[1]))).to_string();
    assert!(err.contains("control characters") && !err.contains('\x1b'), "{err}");
}

#[test]
fn a_namespace_and_a_numpy_scalar_are_passed_over() {
    let pickle = Pickle::new()
        .op(b"}(")
        .str("args")
        .global("argparse", "Namespace")
        .op(b")\x81}")
        .str("lr")
        .op(b"G\x3f\xb9\x99\x99\x99\x99\x99\x9asb")
        .str("best")
        .global("numpy.core.multiarray", "scalar")
        .global("numpy", "dtype")
        .str("f8")
        .op(b"K\x00K\x01\x87R")
        .global("_codecs", "encode")
        .str("12345678")
        .str("latin1")
        .op(b"\x86R\x86R")
        .str("state_dict")
        .op(b"}")
        .str("w")
        .tensor(ONE, 0, &[6], &[1])
        .op(b"su.");
    assert_eq!(values(&pickle.0), numbers());
}

#[test]
fn a_tensor_with_a_class_of_its_own_is_the_tensor_in_it() {
    let tensor = Pickle::dict("w", |p| {
        let function = p.global("torch._tensor", "_rebuild_from_type_v2").global("torch._utils", "_rebuild_tensor_v2");
        function
            .global("torch", "Tensor")
            .op(b"(")
            .storage("FloatStorage", "0", 6)
            .int(1)
            .ints(&[2])
            .ints(&[1])
            .op(b"t\x87R")
    });
    assert_eq!(values(&tensor), [1.0, 2.0]);
}

#[test]
fn a_module_has_its_parameters_its_lasting_buffers_and_no_others() {
    let module = |p: Pickle| p.global("torch.nn.modules.module", "Module").op(b")\x81}(");
    let inner = |p: Pickle| {
        let p = module(p).str("_parameters").op(b"}(").str("w").tensor(ONE, 0, &[1], &[1]).str("bias").op(b"Nu");
        let p =
            p.str("_buffers").op(b"}(").str("mean").tensor(ONE, 1, &[1], &[1]).str("grid").tensor(ONE, 2, &[1], &[1]);
        p.op(b"u").str("_non_persistent_buffers_set").global("builtins", "set").op(b"](").str("grid").op(b"e\x85Rub")
    };
    let outer = inner(module(Pickle::new()).str("_modules").op(b"}").str("conv")).op(b"sub.");
    let checkpoint = open_bytes("m.pth", &zip_of(&outer.0, &numbers())).unwrap();
    assert!(checkpoint.tensors().map(|(name, _)| name).eq(["conv.mean", "conv.w"]));
}
