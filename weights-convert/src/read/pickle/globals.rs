//! The globals that a pickle may name, and what each stands for. There are no others.

use std::fmt;

use crate::dtype::DType;

/// The elements of a storage, or of a tensor over an untyped one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) size: usize,
    /// `None` where it is known only that elements of that size are there.
    pub(crate) dtype: Option<DType>,
}

/// What a global stands for. None of it is ever run.
#[derive(Debug)]
pub(crate) enum Builds {
    /// A dictionary, from nothing or from pairs.
    Dict,
    /// A set, from a list.
    Set,
    /// The tuple that it is given.
    Tuple,
    /// A list, from another one or from nothing.
    List,
    /// The type of a storage.
    Storage(Element),
    /// A storage of bytes; its tensors say what they are.
    UntypedStorage,
    /// An element type.
    Element(Element),
    /// A tensor over a storage; `typed` when the element type is the seventh argument.
    Tensor { typed: bool },
    /// A parameter around a tensor.
    Parameter,
    /// A tensor that another function makes: the first argument is the function, the third one its arguments.
    Retyped,
    /// A tensor or array of a kind that is not read.
    Unread(&'static str),
    /// A module with parameters, buffers and modules within it.
    Module,
    /// Something beside the weights: settings, scores, dates.
    Aside,
    /// `getattr`, which a pickle may only apply to a class that is [`Aside`](Self::Aside): how Python 3 names the
    /// methods that mmengine keeps in its histories. The result is noted down and cannot be called.
    Attribute,
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Global {
    module: &'static str,
    /// `*` for every class in the module and below.
    name: &'static str,
    pub(crate) builds: Builds,
}

impl fmt::Display for Global {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.name)
    }
}

/// The row of a global. Names of Python 2 and of numpy before 2 are those of their successors.
pub(crate) fn find(module: &str, name: &str) -> Option<&'static Global> {
    let module = match module {
        "__builtin__" => "builtins",
        "numpy.core.multiarray" => "numpy._core.multiarray",
        // Python 3.13's name
        "pathlib._local" => "pathlib",
        "numpy.core.numeric" => "numpy._core.numeric",
        other => other,
    };
    let below = |row: &Global| {
        let rest = module.strip_prefix(row.module);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) && is_class(name)
    };
    TABLE.iter().find(|row| match row.name {
        "*" => below(row),
        exact => exact == name && row.module == module,
    })
}

/// Whether a name is written as classes are: so that no function of a module with a `*` row is let in.
fn is_class(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

const fn row(module: &'static str, name: &'static str, builds: Builds) -> Global {
    Global { module, name, builds }
}

const fn storage(name: &'static str, size: usize, dtype: Option<DType>) -> Global {
    row("torch", name, Builds::Storage(Element { size, dtype }))
}

const fn element(name: &'static str, size: usize, dtype: Option<DType>) -> Global {
    row("torch", name, Builds::Element(Element { size, dtype }))
}

#[rustfmt::skip]
static TABLE: &[Global] = &[
    row("collections", "OrderedDict", Builds::Dict),
    row("collections", "defaultdict", Builds::Dict),
    row("collections", "Counter", Builds::Dict),
    row("collections", "deque", Builds::List),
    row("builtins", "dict", Builds::Dict),
    row("builtins", "set", Builds::Set),
    row("builtins", "frozenset", Builds::Set),
    // Lightning's settings.
    row("pytorch_lightning.utilities.parsing", "AttributeDict", Builds::Dict),
    row("lightning.pytorch.utilities.parsing", "AttributeDict", Builds::Dict),
    row("lightning.fabric.utilities.data", "AttributeDict", Builds::Dict),
    row("lightning_fabric.utilities.data", "AttributeDict", Builds::Dict),
    // OpenMMLab's.
    row("mmengine.config.config", "ConfigDict", Builds::Dict),
    row("mmcv.utils.config", "ConfigDict", Builds::Dict),
    row("addict.addict", "Dict", Builds::Dict),

    row("torch._utils", "_rebuild_tensor", Builds::Tensor { typed: false }),
    row("torch._utils", "_rebuild_tensor_v2", Builds::Tensor { typed: false }),
    row("torch._utils", "_rebuild_tensor_v3", Builds::Tensor { typed: true }),
    row("torch._utils", "_rebuild_parameter", Builds::Parameter),
    row("torch._utils", "_rebuild_parameter_with_state", Builds::Parameter),
    row("torch._tensor", "_rebuild_from_type_v2", Builds::Retyped),
    row("torch._utils", "_rebuild_qtensor", Builds::Unread("a quantised tensor")),
    row("torch._utils", "_rebuild_sparse_tensor", Builds::Unread("a sparse tensor")),
    row("torch._utils", "_rebuild_sparse_csr_tensor", Builds::Unread("a sparse tensor")),
    row("torch._utils", "_rebuild_nested_tensor", Builds::Unread("a nested tensor")),
    row("torch._utils", "_rebuild_meta_tensor_no_storage", Builds::Unread("a tensor without values")),
    row("torch._utils", "_rebuild_device_tensor_from_numpy", Builds::Unread("a numpy array")),
    row("numpy._core.multiarray", "_reconstruct", Builds::Unread("a numpy array")),
    row("numpy._core.numeric", "_frombuffer", Builds::Unread("a numpy array")),

    row("torch", "Size", Builds::Tuple),
    row("torch", "Tensor", Builds::Aside),
    row("torch.nn.parameter", "Parameter", Builds::Aside),
    row("torch", "device", Builds::Aside),
    row("torch.serialization", "_get_layout", Builds::Aside),
    row("torch._C", "_get_layout", Builds::Aside),
    row("torch.nn.backends.thnn", "_get_thnn_function_backend", Builds::Aside),
    row("torch.nn.modules", "*", Builds::Module),
    row("torch.nn.parallel", "*", Builds::Module),
    row("torchvision.models", "*", Builds::Module),
    row("torchvision.ops.misc", "*", Builds::Module),

    row("numpy._core.multiarray", "scalar", Builds::Aside),
    row("numpy", "dtype", Builds::Aside),
    row("numpy", "ndarray", Builds::Aside),
    row("_codecs", "encode", Builds::Aside),
    row("argparse", "Namespace", Builds::Aside),
    row("types", "SimpleNamespace", Builds::Aside),
    row("builtins", "complex", Builds::Aside),
    row("builtins", "slice", Builds::Aside),
    row("builtins", "bytearray", Builds::Aside),
    // The factories of a defaultdict.
    row("builtins", "int", Builds::Aside),
    row("builtins", "float", Builds::Aside),
    row("builtins", "list", Builds::Aside),
    row("datetime", "datetime", Builds::Aside),
    row("datetime", "date", Builds::Aside),
    row("datetime", "time", Builds::Aside),
    row("datetime", "timedelta", Builds::Aside),
    row("datetime", "timezone", Builds::Aside),
    // What mmengine keeps of the training: curves of losses, with the names of the methods that sum them up.
    row("mmengine.logging.history_buffer", "HistoryBuffer", Builds::Aside),
    row("builtins", "getattr", Builds::Attribute),
    // Lightning's callbacks, which are the keys of their states, and the settings of those who keep them in OmegaConf.
    row("pytorch_lightning.callbacks", "*", Builds::Aside),
    row("lightning.pytorch.callbacks", "*", Builds::Aside),
    row("omegaconf", "*", Builds::Aside),
    row("typing", "Any", Builds::Aside),
    row("pathlib", "PosixPath", Builds::Aside),
    row("pathlib", "PurePosixPath", Builds::Aside),
    row("pathlib", "WindowsPath", Builds::Aside),
    row("pathlib", "PureWindowsPath", Builds::Aside),

    row("torch.storage", "UntypedStorage", Builds::UntypedStorage),
    row("torch", "UntypedStorage", Builds::UntypedStorage),
    storage("FloatStorage", 4, Some(DType::F32)),
    storage("DoubleStorage", 8, Some(DType::F64)),
    storage("HalfStorage", 2, Some(DType::F16)),
    storage("BFloat16Storage", 2, Some(DType::Bf16)),
    storage("CharStorage", 1, Some(DType::I8)),
    storage("ShortStorage", 2, Some(DType::I16)),
    storage("IntStorage", 4, Some(DType::I32)),
    storage("LongStorage", 8, Some(DType::I64)),
    storage("ByteStorage", 1, Some(DType::U8)),
    storage("BoolStorage", 1, Some(DType::Bool)),
    storage("ComplexFloatStorage", 8, Some(DType::Complex64)),
    storage("ComplexDoubleStorage", 16, Some(DType::Complex128)),
    storage("QInt8Storage", 1, None),
    storage("QUInt8Storage", 1, None),
    storage("QInt32Storage", 4, None),

    element("float32", 4, Some(DType::F32)),
    element("float64", 8, Some(DType::F64)),
    element("float16", 2, Some(DType::F16)),
    element("bfloat16", 2, Some(DType::Bf16)),
    element("int8", 1, Some(DType::I8)),
    element("int16", 2, Some(DType::I16)),
    element("int32", 4, Some(DType::I32)),
    element("int64", 8, Some(DType::I64)),
    element("uint8", 1, Some(DType::U8)),
    element("uint16", 2, Some(DType::U16)),
    element("uint32", 4, Some(DType::U32)),
    element("uint64", 8, Some(DType::U64)),
    element("bool", 1, Some(DType::Bool)),
    element("complex64", 8, Some(DType::Complex64)),
    element("complex128", 16, Some(DType::Complex128)),
    element("complex32", 4, None),
    element("float8_e4m3fn", 1, None),
    element("float8_e4m3fnuz", 1, None),
    element("float8_e5m2", 1, None),
    element("float8_e5m2fnuz", 1, None),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_table_is_found() {
        assert!(matches!(find("collections", "OrderedDict").unwrap().builds, Builds::Dict));
        assert!(matches!(find("collections", "deque").unwrap().builds, Builds::List));
        for (module, name) in [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "setattr")] {
            assert!(find(module, name).is_none(), "{module}.{name}");
        }
        assert!(find("torch.storage", "_load_from_bytes").is_none());
        assert!(find("torch", "load").is_none());
    }

    #[test]
    fn names_of_python_2_and_numpy_1_are_known() {
        assert!(matches!(find("__builtin__", "set").unwrap().builds, Builds::Set));
        assert!(find("numpy.core.multiarray", "scalar").is_some());
        assert!(find("__builtin__", "eval").is_none());
    }

    #[test]
    fn a_star_lets_in_classes_of_its_modules_and_nothing_else() {
        assert!(matches!(find("torch.nn.modules.conv", "Conv2d").unwrap().builds, Builds::Module));
        assert!(find("torch.nn.modules.module", "register_module_forward_hook").is_none());
        assert!(find("torch.nn.modulesx", "Conv2d").is_none());
        assert!(find("torch.nn.modules.module", "Module.eval").is_none());
        assert!(find("torch.nn.modules", "*").is_none());
    }
}
