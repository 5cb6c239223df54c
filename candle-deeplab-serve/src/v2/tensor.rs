//! Tensors in requests and answers: as JSON, or as bytes behind it (Triton's binary tensor extension).

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::INPUT;
use crate::body::at_most;
use crate::problem::{Problem, Result};
use crate::work::{Picture, image_of_text};

/// The most images in a request.
const MAX_IMAGES: usize = 256;

/// A request for inference.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct InferRequest {
    /// Returned as it is.
    pub(crate) id: Option<String>,
    #[serde(deserialize_with = "at_most::<_, _, 2>")]
    pub(crate) inputs: Vec<InputTensor>,
    /// `label_map` by default; also `probabilities`.
    #[serde(default, deserialize_with = "at_most::<_, _, 4>")]
    pub(crate) outputs: Vec<WantedOutput>,
    /// `binary_data_output`: whether outputs are bytes behind the JSON.
    pub(crate) parameters: Option<Parameters>,
}

/// A tensor of a request.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct InputTensor {
    /// `image`
    pub(crate) name: String,
    /// `[N, H, W, 3]` for UINT8, `[N]` for BYTES.
    #[schema(value_type = Vec<u64>)]
    #[serde(deserialize_with = "at_most::<_, _, 8>")]
    pub(crate) shape: Vec<usize>,
    /// `UINT8` or `BYTES`
    pub(crate) datatype: String,
    pub(crate) parameters: Option<Parameters>,
    /// Numbers from 0 to 255, nested or not; or files of images in base64. It is missing if the bytes come behind the JSON.
    #[schema(value_type = Option<Vec<serde_json::Value>>)]
    pub(crate) data: Option<Data>,
}

/// An output that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct WantedOutput {
    /// `label_map` or `probabilities`
    pub(crate) name: String,
    pub(crate) parameters: Option<Parameters>,
}

/// Parameters of the binary tensor extension. Others are left aside.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Parameters {
    /// The number of an input's bytes behind the JSON.
    #[schema(value_type = Option<u64>)]
    pub(crate) binary_data_size: Option<usize>,
    /// Whether this output is bytes behind the JSON.
    pub(crate) binary_data: Option<bool>,
    /// The same for all outputs that do not say it.
    pub(crate) binary_data_output: Option<bool>,
}

/// The values of a tensor in JSON.
#[derive(Debug)]
pub(crate) enum Data {
    Numbers(Vec<u8>),
    Texts(Vec<String>),
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut values = Values::default();
        deserializer.deserialize_seq(Flatten(&mut values))?;
        match (values.numbers.is_empty(), values.texts.is_empty()) {
            (_, true) => Ok(Self::Numbers(values.numbers)),
            (true, false) => Ok(Self::Texts(values.texts)),
            _ => Err(D::Error::custom("`data` has both numbers and texts")),
        }
    }
}

#[derive(Default)]
struct Values {
    numbers: Vec<u8>,
    texts: Vec<String>,
}

/// Reads nested lists as one. serde_json bounds how deep they are.
struct Flatten<'a>(&'a mut Values);

impl<'de> serde::de::DeserializeSeed<'de> for Flatten<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flatten<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whole numbers from 0 to 255, texts, or lists of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<(), A::Error> {
        while list.next_element_seed(Flatten(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> std::result::Result<(), E> {
        let value = u8::try_from(value).map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(value), &self))?;
        self.0.numbers.push(value);
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> std::result::Result<(), E> {
        if self.0.texts.len() == MAX_IMAGES {
            return Err(E::custom(format_args!("an input holds from 1 to {MAX_IMAGES} images")));
        }
        self.0.texts.push(value.to_owned());
        Ok(())
    }
}

impl InputTensor {
    /// The images in the tensor, whose bytes, if they are not in the JSON, are taken from the front of `binary`.
    ///
    /// # Errors
    /// The tensor is no image, or its parts do not fit each other.
    pub(crate) fn pictures(self, binary: &mut &[u8]) -> Result<Vec<Picture>> {
        let Self { name, shape, datatype, parameters, data } = self;
        if name != INPUT {
            return Err(Problem::bad(format!("there is one input, `{INPUT}`")));
        }
        let bytes = match (parameters.unwrap_or_default().binary_data_size, &data) {
            (Some(size), None) => {
                let (own, rest) = binary.split_at_checked(size).ok_or_else(|| {
                    Problem::bad(format!("{size} bytes are announced behind the JSON, and {} are there", binary.len()))
                })?;
                *binary = rest;
                Some(own)
            }
            (None, Some(_)) => None,
            _ => return Err(Problem::bad("an input has either `data` or `binary_data_size`")),
        };
        let most = shape.first().copied().unwrap_or_default();
        if most == 0 || most > MAX_IMAGES {
            return Err(Problem::bad(format!("an input holds from 1 to {MAX_IMAGES} images")));
        }
        match (datatype.as_str(), &shape[..]) {
            ("UINT8", &[images, height, width, 3]) => {
                let values = match (&data, bytes) {
                    (_, Some(bytes)) => bytes,
                    (Some(Data::Numbers(values)), None) => values,
                    _ => return Err(Problem::bad("UINT8 `data` are numbers")),
                };
                pixels(values, images, height, width)
            }
            ("BYTES", &[images]) => {
                let files = match (data, bytes) {
                    (_, Some(bytes)) => elements(bytes)?,
                    (Some(Data::Texts(texts)), None) => {
                        texts.iter().map(|text| image_of_text(text)).collect::<Result<_>>()?
                    }
                    _ => return Err(Problem::bad("BYTES `data` are files in base64")),
                };
                if files.len() != images {
                    return Err(Problem::bad(format!("the shape says {images} files, and there are {}", files.len())));
                }
                Ok(files.into_iter().map(Picture::Encoded).collect())
            }
            _ => Err(Problem::bad(format!(
                "`{INPUT}` is UINT8 [N, H, W, 3] or BYTES [N], and this is {} {shape:?}",
                datatype.chars().take(16).collect::<String>()
            ))),
        }
    }
}

/// Cuts values into images.
fn pixels(values: &[u8], images: usize, height: usize, width: usize) -> Result<Vec<Picture>> {
    let wrong = || Problem::bad(format!("{} values are not {images} images of {height}×{width}×3", values.len()));
    let each = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(3)).ok_or_else(wrong)?;
    if each == 0 || each.checked_mul(images) != Some(values.len()) {
        return Err(wrong());
    }
    let (Ok(width), Ok(height)) = (u32::try_from(width), u32::try_from(height)) else { return Err(wrong()) };
    let image = |values: &[u8]| image::RgbImage::from_raw(width, height, values.to_vec()).ok_or_else(wrong);
    values.chunks_exact(each).map(|values| image(values).map(Picture::Pixels)).collect()
}

/// The elements of a BYTES tensor: a length of four bytes, the lowest first, and so many bytes, and so on.
fn elements(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut elements = vec![];
    while !bytes.is_empty() {
        let element = bytes.split_first_chunk::<4>().and_then(|(length, rest)| {
            let (element, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
            bytes = rest;
            Some(element.to_vec())
        });
        let Some(element) = element else {
            return Err(Problem::bad("a BYTES tensor is cut off: each element has its length before it"));
        };
        if elements.len() == MAX_IMAGES {
            return Err(Problem::bad(format!("an input holds from 1 to {MAX_IMAGES} images")));
        }
        elements.push(element);
    }
    Ok(elements)
}

/// A tensor of an answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OutputTensor {
    pub(crate) name: &'static str,
    #[schema(value_type = Vec<u64>)]
    pub(crate) shape: Vec<usize>,
    pub(crate) datatype: &'static str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub(crate) parameters: Map<String, Value>,
    /// Missing if its bytes come behind the JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<f32>>)]
    pub(crate) data: Option<TensorValues>,
}

/// The values of an output.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum TensorValues {
    Ids(Vec<u8>),
    Probabilities(Vec<f32>),
}

impl OutputTensor {
    /// A tensor in JSON.
    pub(crate) fn json(name: &'static str, shape: Vec<usize>, values: TensorValues) -> Self {
        Self { name, shape, datatype: values.datatype(), parameters: Map::new(), data: Some(values) }
    }

    /// A tensor whose bytes, the lowest of each number first, are added to `binary`.
    pub(crate) fn binary(name: &'static str, shape: Vec<usize>, values: TensorValues, binary: &mut Vec<u8>) -> Self {
        let (datatype, before) = (values.datatype(), binary.len());
        match values {
            TensorValues::Ids(ids) => binary.extend_from_slice(&ids),
            TensorValues::Probabilities(values) => values.iter().for_each(|value| binary.extend(value.to_le_bytes())),
        }
        let size = Value::from(binary.len() - before);
        let parameters = Map::from_iter([("binary_data_size".to_owned(), size)]);
        Self { name, shape, datatype, parameters, data: None }
    }
}

impl TensorValues {
    fn datatype(&self) -> &'static str {
        match self {
            Self::Ids(_) => "UINT8",
            Self::Probabilities(_) => "FP32",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(json: &str, mut binary: &[u8]) -> Result<Vec<Picture>> {
        let input: InputTensor = serde_json::from_str(json).map_err(|error| Problem::bad(error.to_string()))?;
        input.pictures(&mut binary)
    }

    fn said(json: &str, binary: &[u8]) -> String {
        input(json, binary).unwrap_err().message
    }

    #[test]
    fn numbers_may_be_nested_or_not() {
        for data in ["[1,2,3,4,5,6]", "[[[[1,2,3],[4,5,6]]]]"] {
            let json = format!(r#"{{"name":"image","shape":[1,1,2,3],"datatype":"UINT8","data":{data}}}"#);
            let [Picture::Pixels(image)] = &input(&json, &[]).unwrap()[..] else { panic!() };
            assert_eq!((image.dimensions(), image.as_raw().as_slice()), ((2, 1), &[1, 2, 3, 4, 5, 6][..]));
        }
    }

    #[test]
    fn bytes_behind_the_json_are_cut_into_images() {
        let json = r#"{"name":"image","shape":[2,1,1,3],"datatype":"UINT8","parameters":{"binary_data_size":6}}"#;
        assert_eq!(input(json, &[1, 2, 3, 4, 5, 6]).unwrap().len(), 2);
        assert!(said(json, &[1, 2, 3]).contains("6 bytes are announced"));
        let json = r#"{"name":"image","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}}"#;
        let files = input(json, b"\x01\0\0\0a\x02\0\0\0bc").unwrap();
        assert!(matches!(&files[1], Picture::Encoded(bytes) if bytes == b"bc"));
        assert!(said(json, b"\x01\0\0\0a\xff\0\0\0bc").contains("cut off"));
    }

    #[test]
    fn what_is_no_image_is_refused_in_words() {
        for (json, expected) in [
            (r#"{"name":"x","shape":[1],"datatype":"BYTES","data":["YQ=="]}"#, "one input, `image`"),
            (r#"{"name":"image","shape":[1],"datatype":"BYTES","data":["!"]}"#, "base64"),
            (r#"{"name":"image","shape":[2],"datatype":"BYTES","data":["YQ=="]}"#, "the shape says 2 files"),
            (r#"{"name":"image","shape":[1],"datatype":"BYTES","data":[1]}"#, "base64"),
            (r#"{"name":"image","shape":[1],"datatype":"BYTES"}"#, "either `data` or"),
            (r#"{"name":"image","shape":[0,2,2,3],"datatype":"UINT8","data":[]}"#, "from 1 to 256"),
            (r#"{"name":"image","shape":[1,0,2,3],"datatype":"UINT8","data":[]}"#, "0 values are not"),
            (r#"{"name":"image","shape":[1,2,2,3],"datatype":"UINT8","data":[1]}"#, "1 values are not"),
            (r#"{"name":"image","shape":[1,9223372036854775807,9,3],"datatype":"UINT8","data":[1]}"#, "are not"),
            (r#"{"name":"image","shape":[1,2,2,4],"datatype":"UINT8","data":[1]}"#, "UINT8 [N, H, W, 3] or BYTES"),
            (r#"{"name":"image","shape":[1,1,1,3],"datatype":"FP32","data":[1,2,3]}"#, "UINT8 [N, H, W, 3] or BYTES"),
            (r#"{"name":"image","shape":[1,1,1,3],"datatype":"UINT8","data":[1,2,256]}"#, "0 to 255"),
            (r#"{"name":"image","shape":[1,1,1,3],"datatype":"UINT8","data":[1,2,-1]}"#, "0 to 255"),
            (r#"{"name":"image","shape":[1,1,1,3],"datatype":"UINT8","data":[1,"a"]}"#, "both"),
        ] {
            let message = said(json, &[]);
            assert!(message.contains(expected), "{json}: {message}");
        }
    }
}
