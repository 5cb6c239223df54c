//! TFLite models: what is told of a sound one, and how a damaged one is refused.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod read_support;

use read_support::flat::{Model, Quantization, Resize, Value, file};
use read_support::{error_of, open_bytes, read_all};
use weights_convert::{ConvGeometry, Corners, DType, Error, Format, Geometry};

fn error(model: &Model) -> Error {
    error_of("model.tflite", &model.bytes())
}

#[test]
fn weights_strides_and_the_input_size_are_told() {
    let model = open_bytes("any.name", &Model::default().bytes()).unwrap();
    assert_eq!(model.format(), Format::TfLite);
    assert_eq!(model.geometry().input_size, Some((33, 65)));
    let conv = ConvGeometry { stride: (1, 2), dilation: (1, 4) };
    assert_eq!(model.geometry().convs["conv/weights"], conv);
    assert_eq!(model.read("conv/weights").unwrap().to_f32().unwrap(), [1.0, 2.0, 3.0]);
    assert_eq!(model.read("conv/bias").unwrap().to_f32().unwrap(), [0.5]);
    let variables: Vec<_> = model.tensors().map(|(name, info)| (name, info.variable)).collect();
    assert_eq!(variables, [("conv/bias", true), ("conv/weights", true), ("paddings", false)]);
}

/// A model whose three weights are these bytes of this type.
fn integers(weights_type: u8, weights_data: Vec<u8>, quantization: Option<Quantization>) -> Model {
    Model { weights_type, weights_data, quantization, ..Model::default() }
}

fn weights(model: &Model) -> Vec<f32> {
    open_bytes("m.tflite", &model.bytes()).unwrap().read("conv/weights").unwrap().to_f32().unwrap()
}

#[test]
fn quantised_integers_are_the_numbers_they_stand_for() {
    let one = |scale, zero| Some(Quantization { scales: vec![scale], zero_points: vec![zero], axis: 0 });
    // uint8 and int8 per tensor, int32 as biases are stored
    assert_eq!(weights(&integers(3, vec![0, 128, 255], one(0.5, 128))), [-64.0, 0.0, 63.5]);
    assert_eq!(weights(&integers(9, vec![1, 2, 255], one(2.0, 0))), [2.0, 4.0, -2.0]);
    let large = [1i32 << 24, -3, 0].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(weights(&integers(2, large, one(0.25, 0))), [4_194_304.0, -0.75, 0.0]);
    // int8 per channel, along the axis that is told
    let several = Quantization { scales: vec![1.0, 10.0, 100.0], zero_points: vec![0, 0, 1], axis: 3 };
    assert_eq!(weights(&integers(9, vec![1, 2, 3], Some(several))), [1.0, 20.0, 200.0]);
}

#[test]
fn integers_without_a_scale_are_no_weights() {
    let model = open_bytes("m.tflite", &integers(9, vec![1, 2, 255], None).bytes()).unwrap();
    let info = model.info("conv/weights").unwrap();
    assert_eq!((info.dtype, info.quantized), (DType::I8, false));
    assert!(matches!(model.read("conv/weights").unwrap().to_f32(), Err(Error::WrongDType { .. })));
}

#[test]
fn scales_that_do_not_fit_their_tensor_are_refused() {
    for (scales, zero_points, axis) in [
        (vec![1.0, 2.0], vec![], 3),
        (vec![1.0; 3], vec![], 0),
        (vec![1.0; 3], vec![], -1),
        (vec![1.0; 3], vec![], i32::MAX),
        (vec![1.0; 3], vec![0, 0], 3),
        (vec![f32::NAN], vec![], 0),
        (vec![f32::INFINITY], vec![], 0),
        (vec![-1.0], vec![], 0),
    ] {
        let err = error(&integers(9, vec![1, 2, 3], Some(Quantization { scales, zero_points, axis })));
        assert!(matches!(&err, Error::BadTensor { tensor, .. } if tensor == "conv/weights"), "{err}");
    }
}

fn geometry(model: &Model) -> Geometry {
    open_bytes("m.tflite", &model.bytes()).unwrap().geometry().clone()
}

/// A model whose image has this type and this scale, with this operator between it and the convolution.
fn image(image_type: u8, (scale, zero): (f32, i64), before: Option<i32>) -> Model {
    let image_quantization = Some(Quantization { scales: vec![scale], zero_points: vec![zero], axis: 0 });
    Model { image_type, image_quantization, before, ..Model::default() }
}

#[test]
fn the_scale_of_an_integer_image_tells_what_its_pixels_stand_for() {
    const UINT8: u8 = 3;
    const INT8: u8 = 9;
    for (kind, zero, mean) in [(UINT8, 128, 128.0), (UINT8, 0, 0.0), (INT8, -1, 127.0), (INT8, -128, 0.0)] {
        let told = geometry(&image(kind, (0.0078125, zero), None)).input_scale.unwrap();
        assert_eq!((told.mean(), told.std()), (mean, 128.0), "{kind} {zero}");
    }
    // What is not integers has no scale to tell, nor have integers without one.
    let without = Model { image_quantization: None, ..image(UINT8, (1.0, 0), None) };
    assert!([image(0, (0.5, 0), None), without, Model::default()].iter().all(|m| geometry(m).input_scale.is_none()));
}

#[test]
fn the_scale_of_an_image_that_the_graph_computes_with_tells_nothing() {
    const PAD: i32 = 34;
    const QUANTIZE: i32 = 114;
    const MUL: i32 = 18;
    for (before, told) in [(PAD, true), (QUANTIZE, true), (MUL, false)] {
        assert_eq!(geometry(&image(3, (0.5, 7), Some(before))).input_scale.is_some(), told, "{before}");
    }
}

#[test]
fn a_scale_of_an_image_that_is_none_is_refused() {
    for (kind, scale, zero) in
        [(3, 0.0, 0), (3, f32::NAN, 0), (3, -1.0, 0), (3, 1e-45, 0), (3, 1.0, 256), (3, 1.0, -1), (9, 1.0, 128)]
    {
        let err = error(&image(kind, (scale, zero), None));
        assert!(matches!(err, Error::Malformed { .. }), "{scale} {zero}: {err}");
    }
    let scales = Some(Quantization { scales: vec![1.0; 3], zero_points: vec![0; 3], axis: 3 });
    let err = error(&Model { image_quantization: scales, ..image(3, (1.0, 0), None) });
    assert!(err.to_string().contains("a scale for each channel"), "{err}");
}

#[test]
fn the_graph_tells_how_it_resizes() {
    let resize = |from, to, options| Resize { from, to, options };
    let ways = |resizes: &[Resize]| {
        let model = Model { resizes: resizes.to_vec(), ..Model::default() };
        geometry(&model).resizes.into_iter().collect::<Vec<_>>()
    };
    let aligned = resize([5, 5], [33, 33], Some([true, false]));
    let half_pixel = resize([5, 5], [33, 33], Some([false, true]));
    assert_eq!(ways(&[]), []);
    assert_eq!(ways(&[aligned, aligned]), [Corners::Aligned]);
    assert_eq!(ways(&[half_pixel]), [Corners::HalfPixel]);
    for defaults in [Some([false, false]), None] {
        assert_eq!(ways(&[resize([5, 5], [33, 33], defaults)]), [Corners::UpperLeft]);
    }
    assert_eq!(ways(&[half_pixel, aligned]), [Corners::Aligned, Corners::HalfPixel]);
    // One pixel has nothing to be aligned, and what keeps its size is not resized: others are believed first.
    let idle = |options| [resize([1, 1], [33, 65], options), resize([33, 7], [33, 7], options)];
    for options in [None, Some([false, true])] {
        assert_eq!(ways(&[&idle(options)[..], &[aligned]].concat()), [Corners::Aligned]);
    }
    assert_eq!(ways(&idle(Some([false, true]))), [Corners::HalfPixel]);
    assert_eq!(ways(&idle(None)), []);
}

#[test]
fn a_resize_in_two_ways_at_once_is_refused() {
    let resizes = vec![Resize { from: [5, 5], to: [33, 33], options: Some([true, true]) }];
    let err = error(&Model { resizes, ..Model::default() });
    assert!(err.to_string().contains("both align_corners and half_pixel_centers"), "{err}");
}

#[test]
fn a_model_compiled_for_the_edge_tpu_is_refused_by_that_name() {
    let err = error(&Model { custom: Some("edgetpu-custom-op"), ..Model::default() });
    let said = err.to_string();
    assert!(said.contains("compiled for the Edge TPU") && said.contains("without `_edgetpu`"), "{said}");
    // Other operators that TFLite does not know hide no weights.
    open_bytes("m.tflite", &Model { custom: Some("Convolution2DTransposeBias"), ..Model::default() }.bytes()).unwrap();
}

#[test]
fn strings_are_read() {
    // count, where each begins and the last one ends, bytes
    let data = [3, 20, 20, 21, 23].iter().flat_map(|v: &i32| v.to_le_bytes()).chain(*b"abc").collect();
    let strings = Model { weights_type: 5, weights_shape: vec![3], weights_data: data, ..Model::default() };
    let model = open_bytes("m.tflite", &strings.bytes()).unwrap();
    let raw = model.read("conv/weights").unwrap();
    assert_eq!(raw.strings().unwrap().collect::<Vec<_>>(), [&b""[..], b"a", b"bc"]);

    for wrong in
        [vec![0; 3], vec![4, 0, 0, 0], [3, 20, 24, 21, 23].iter().flat_map(|v: &i32| v.to_le_bytes()).collect()]
    {
        assert!(matches!(error(&Model { weights_data: wrong, ..strings.clone() }), Error::Malformed { .. }));
    }
}

#[test]
fn a_buffer_of_another_size_than_the_shape_is_refused() {
    let err = error(&Model { weights_shape: vec![1, 1, 1, 4], ..Model::default() });
    assert!(matches!(err, Error::SizeMismatch { expected: 16, found: 12, .. }), "{err}");
}

#[test]
fn a_shape_that_overflows_is_refused() {
    let err = error(&Model { weights_shape: vec![i32::MAX; 4], ..Model::default() });
    assert!(matches!(err, Error::ShapeOverflow { .. }), "{err}");
}

#[test]
fn a_negative_dimension_is_refused() {
    let err = error(&Model { weights_shape: vec![1, -3], ..Model::default() });
    assert!(matches!(err, Error::NegativeDim { axis: 1, size: -3, .. }), "{err}");
}

#[test]
fn two_tensors_of_one_name_are_refused() {
    let err = error(&Model { weights_name: "conv/bias", ..Model::default() });
    assert!(matches!(err, Error::DuplicateTensor { .. }), "{err}");
}

#[test]
fn a_buffer_that_is_not_there_is_refused() {
    let err = error(&Model { weights_buffer: 7, ..Model::default() });
    assert!(err.to_string().contains("an index points outside of its list"), "{err}");
}

#[test]
fn a_buffer_outside_of_the_flatbuffer_is_refused() {
    let err = error(&Model { buffer_offset: 4096, ..Model::default() });
    assert!(matches!(err, Error::Unsupported { .. }), "{err}");
}

#[test]
fn an_unknown_type_is_refused() {
    let err = error(&Model { weights_type: 17, ..Model::default() });
    assert!(matches!(err, Error::UnknownDType { .. }), "{err}");
}

#[test]
fn a_stride_of_zero_is_refused() {
    let err = error(&Model { stride: 0, ..Model::default() });
    assert!(matches!(err, Error::Malformed { .. }), "{err}");
}

#[test]
fn a_model_without_a_graph_is_refused() {
    let err = error_of("m.tflite", &file(&Value::Table(vec![])));
    assert!(matches!(err, Error::Malformed { .. }), "{err}");
}

#[test]
fn offsets_and_lengths_that_claim_too_much_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.tflite");
    // Whether it is refused depends on what was hit; that it ends without a panic does not.
    let try_to_read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        drop(read_all(&path));
    };
    let resizes = vec![Resize { from: [5, 5], to: [33, 33], options: Some([true, false]) }];
    let good = Model { resizes, ..image(3, (0.5, 3), None) }.bytes();
    for at in (0..good.len() - 4).filter(|at| !(4..8).contains(at)) {
        for claim in [[0xff; 4], [0xff, 0xff, 0xff, 0x7f], [0, 0, 0, 0x80]] {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&claim);
            try_to_read(&bad);
        }
    }
    (8..good.len()).for_each(|n| try_to_read(&good[..n]));
}
