//! Pickles made for the test: what the machine refuses, and what it survives.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod read_support;

use read_support::torch::{ONE, Pickle, error, message, message_of, numbers, values};
use weights_convert::Error;

// ---- what is asked for and not given ----

#[test]
fn what_is_not_in_the_table_is_refused_by_name() {
    for (module, name) in
        [("posix", "system"), ("builtins", "eval"), ("__builtin__", "getattr"), ("torch.storage", "_load_from_bytes")]
    {
        let err = error(Pickle::new().global(module, name).op(b".").0);
        assert!(
            matches!(&err, Error::ForbiddenGlobal { global, .. } if *global == format!("{module}.{name}")),
            "{err}"
        );
    }
}

/// `getattr` with these arguments, beside a tensor.
fn attribute(args: impl Fn(Pickle) -> Pickle) -> Vec<u8> {
    let tensor = Pickle::new().op(b"}").str("w").tensor(ONE, 0, &[6], &[1]).op(b"s0");
    args(tensor.global("__builtin__", "getattr")).0
}

#[test]
fn an_attribute_is_noted_down_where_a_history_names_its_methods() {
    // {"state_dict": {"w": …}, "history": {"min": getattr(HistoryBuffer, "min")}}
    let file = Pickle::new()
        .op(b"}(")
        .str("state_dict")
        .op(b"}")
        .str("w")
        .tensor(ONE, 0, &[6], &[1])
        .op(b"s")
        .str("history")
        .op(b"}")
        .str("min")
        .global("__builtin__", "getattr")
        .global("mmengine.logging.history_buffer", "HistoryBuffer")
        .str("min")
        .op(b"\x86Rsu.");
    assert_eq!(values(&file.0), numbers());
}

#[test]
fn an_attribute_of_anything_else_is_refused_and_none_is_called() {
    let class = |p: Pickle| p.global("mmengine.logging.history_buffer", "HistoryBuffer").str("min").op(b"\x86R");
    for (what, file) in [
        ("__builtin__.getattr", attribute(|p| p.op(b"."))),
        ("builtins.getattr()", attribute(|p| p.str("x").str("y").op(b"\x86R."))),
        ("builtins.getattr()", attribute(|p| p.global("torch._utils", "_rebuild_tensor").str("y").op(b"\x86R."))),
        ("builtins.getattr()", attribute(|p| p.op(b")\x81."))),
    ] {
        let err = error(&file);
        assert!(matches!(&err, Error::ForbiddenGlobal { global, .. } if global == what), "{err}");
    }
    assert!(error(attribute(|p| class(p).op(b")R."))).to_string().contains("calls what is no global"));
}

#[test]
fn a_queue_is_a_list() {
    let queue = |ops: &[u8]| {
        let file = Pickle::new().op(b"}(").str("w").tensor(ONE, 0, &[6], &[1]).str("q").global("collections", "deque");
        values(&file.op(ops).op(b"u.").0)
    };
    // deque([1, 2], 3) as Python writes it, and with its items behind it
    assert_eq!(queue(b"(]K\x01aK\x03tR"), numbers());
    assert_eq!(queue(b")R(K\x01K\x02e"), numbers());
}

#[test]
fn a_global_of_the_stack_is_refused_as_well() {
    let err = error(Pickle::new().str("os").str("system").op(b"\x93.").0);
    assert!(matches!(&err, Error::ForbiddenGlobal { global, .. } if global == "os.system"), "{err}");
}

#[test]
fn the_name_of_a_global_cannot_drive_a_terminal() {
    let err = error(Pickle::new().global("os", "\x1b[2Jx").op(b".").0).to_string();
    assert!(!err.contains('\x1b') && err.contains("u{1b}"), "{err}");
}

#[test]
fn only_globals_are_called() {
    assert!(message(b"N)R.").contains("calls what is no global"));
    assert!(message(b"ccollections\nOrderedDict\n]R.").contains("arguments that are no tuple"));
    assert!(message(b"ctorch\nFloatStorage\n)R.").contains("`torch.FloatStorage()`"));
    assert!(message(b"ctorch\nFloatStorage\n)\x81.").contains("`torch.FloatStorage()`"));
    assert!(message(b"ctorch\nfloat32\n)R.").contains("`torch.float32()`"));
    assert!(message(b"K\x01}b.").contains("gives a state to what has none"));
}

#[test]
fn opcodes_that_pytorch_does_not_write_are_refused() {
    // INST, OBJ, PERSID, EXT1, NEXT_BUFFER and one that is not there at all
    for op in [b'i', b'o', b'P', 0x82, 0x97, 0xff] {
        assert!(message(&[op]).contains(&format!("opcode {op:#04x}")), "{op:#04x}");
    }
    assert!(message(b"\x80\x01N.").contains("protocol 1"));
}

// ---- the machine ----

#[test]
fn a_pickle_without_stop_ends_early() {
    assert!(message(b"}").contains("its pickle ends early"));
    assert!(message(b"").contains("its pickle ends early"));
}

#[test]
fn the_stack_does_not_run_empty() {
    for ops in [&b"."[..], b"0", b"2", b"a", b"]a.", b"\x85.", b"}Ns.", b"R", b"b", b"Q", b"q\x00", b"t", b"1", b"(b"] {
        let err = message(ops);
        assert!(err.contains("empty stack") || err.contains("mark where there is none"), "{ops:?}: {err}");
    }
}

#[test]
fn an_open_mark_protects_what_is_below_it() {
    assert!(message(b"]N(a").contains("empty stack"));
    assert!(message(b"N(.").contains("stops within a list"));
    assert!(message(b"NN.").contains("values left over"));
}

#[test]
fn a_memo_that_was_not_written_is_not_read() {
    assert!(message(b"h\x07.").contains("value 7 of its memo"));
    assert!(message(b"j\xff\xff\xff\xff.").contains("value 4294967295 of its memo"));
}

#[test]
fn lengths_that_the_file_does_not_have_are_not_believed() {
    for ops in [
        &b"X\xff\xff\xff\xffabc"[..],
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc",
        b"B\xff\xff\xff\x7fabc",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x96\x00\x00\x00\x00\x00\x00\x00\x01",
        b"T\xff\xff\xff\x7fabc",
        b"\x8b\xff\xff\xff\x7f",
        b"\x95\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert!(message(ops).contains("its pickle ends early"), "{ops:?}");
    }
    assert!(message(b"\x8b\xff\xff\xff\xff").contains("negative length"));
    assert!(message(b"T\xff\xff\xff\xff").contains("negative length"));
}

#[test]
fn a_memo_bomb_runs_out_of_steps() {
    // Each list holds the one before it ten times: 10^6 levels would be 10^(10^6) items to whoever walks them.
    let level = [&b"]q\x01("[..], &b"h\x00".repeat(10), b"eq\x00"].concat();
    let bomb = Pickle::new().op(b"]q\x00").op(level.repeat(1_000_000)).op(b".").0;
    assert!(error(bomb).to_string().contains("steps"));
}

#[test]
fn a_small_memo_bomb_is_only_as_large_as_its_pickle() {
    let level = [&b"]("[..], &b"h\x00".repeat(10), b"eq\x00"].concat();
    let bomb = Pickle::new().op(b"]q\x00").op(level.repeat(1000)).op(b"0").op(b"h\x00.").0;
    assert!(error(bomb).to_string().contains("values left over"));
}

#[test]
fn a_dictionary_copied_again_and_again_runs_out_of_steps() {
    let pairs = b"NN\x86".repeat(10_000);
    let copy = b"ccollections\nOrderedDict\nh\x00\x85R0";
    let ops = [&b"("[..], &pairs, b"tq\x00", &copy.repeat(10_000)].concat();
    assert!(message(&ops).contains("steps"));
}

#[test]
fn tuples_a_million_deep_overflow_nothing() {
    let deep = Pickle::new().op(b")").op(b"\x85".repeat(1_000_000)).op(b".").0;
    assert!(error(deep).to_string().contains("its root is a tuple"));
}

#[test]
fn lists_a_million_deep_overflow_nothing() {
    let deep = [b"]".repeat(1_000_000), b"a".repeat(999_999), b".".to_vec()].concat();
    assert!(message(&deep).contains("its root is a list"));
}

#[test]
fn dictionaries_a_million_deep_overflow_nothing() {
    let inner = [b"h\x00}".repeat(1_000_000), b"s".repeat(1_000_000)].concat();
    let deep = Pickle::new().str("model").op(b"q\x000}").op(inner).op(b".").0;
    assert!(matches!(error(deep), Error::NoStateDict { .. }));
}

#[test]
fn marks_within_each_other_are_limited() {
    assert!(message(&b"(".repeat(1_000_000)).contains("within each other"));
}

#[test]
fn a_dictionary_that_holds_itself_is_no_state_dict() {
    let itself = Pickle::new().op(b"}q\x00").str("model").op(b"h\x00s.").0;
    assert!(matches!(error(itself), Error::NoStateDict { .. }));
    let list = Pickle::new().op(b"]q\x00h\x00a.").0;
    assert!(matches!(error(list), Error::NoStateDict { .. }));
}

#[test]
fn a_module_that_holds_itself_is_refused() {
    let itself = Pickle::new()
        .global("torch.nn.modules.container", "Sequential")
        .op(b")\x81q\x00}")
        .str("_modules")
        .op(b"}")
        .str("0")
        .op(b"h\x00ssb.");
    assert!(error(itself.0).to_string().contains("too many modules within each other"));
}

#[test]
fn parameters_within_each_other_are_refused() {
    let wrapped = |p: Pickle| {
        let opened = (0..1000).fold(p, |p, _| p.global("torch._utils", "_rebuild_parameter"));
        (0..1000).fold(opened.tensor(ONE, 0, &[6], &[1]), |p, _| p.op(b"\x89N\x87R"))
    };
    assert!(message_of(wrapped).contains("a parameter of a parameter"));
    let one = Pickle::dict("w", |p| {
        p.global("torch._utils", "_rebuild_parameter").tensor(ONE, 0, &[6], &[1]).op(b"\x89N\x87R")
    });
    assert_eq!(values(&one), numbers());
}
