//! The header of a safetensors file. It is read as strictly as the format asks for, and with limits: the `safetensors` crate
//! takes the last of several tensors of one name, and a header of dimensions or names that no network has takes many times
//! its own size in memory.

use std::collections::{HashMap, HashSet};
use std::{fmt, io};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The largest header that the format allows, in bytes.
pub const MAX_HEADER: u64 = 100_000_000;
/// Far more tensors than any network has.
const MAX_TENSORS: usize = 1 << 16;
/// More dimensions than any weight has.
const MAX_RANK: usize = 32;

/// The tensors of a header: each named once, without gaps and overlaps, and of sizes that fit their types and shapes.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(json: &[u8]) -> Result<Metadata, String> {
    let mut json = serde_json::Deserializer::from_slice(json);
    let mut tensors = json.deserialize_map(Header).map_err(|e| e.to_string())?;
    json.end().map_err(|e| e.to_string())?;
    // The order of the header is anybody's; that of the bytes has no gaps.
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    Metadata::new(None, tensors).map_err(|e| e.to_string())
}

/// The beginning of a safetensors file: the length of the header, and the header itself, padded with spaces so that the
/// tensors behind it are aligned. The tensors are named in the order of their bytes.
///
/// # Errors
/// Where the offsets of the tensors do not fit each other.
pub fn encode(metadata: Option<HashMap<String, String>>, tensors: Vec<(String, TensorInfo)>) -> io::Result<Vec<u8>> {
    let header = serde_json::to_vec(&Metadata::new(metadata, tensors).map_err(io::Error::other)?)?;
    let len = header.len().next_multiple_of(size_of::<u64>());
    let mut bytes = (len as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.resize(size_of::<u64>() + len, b' ');
    Ok(bytes)
}

/// All entries of a header.
struct Header;

impl<'de> Visitor<'de> for Header {
    type Value = Vec<(String, TensorInfo)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        const METADATA: &str = "__metadata__";
        let (mut tensors, mut names, mut metadata) = (vec![], HashSet::new(), false);
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                if std::mem::replace(&mut metadata, true) {
                    return Err(A::Error::custom("`__metadata__` comes twice"));
                }
                map.next_value_seed(Notes)?;
                continue;
            }
            if tensors.len() == MAX_TENSORS {
                return Err(A::Error::custom(format!("it names more than {MAX_TENSORS} tensors")));
            }
            let info = map.next_value_seed(Info(&name))?;
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format!("the tensor `{name}` comes twice")));
            }
            tensors.push((name, info));
        }
        Ok(tensors)
    }
}

/// `__metadata__`: text by name, of which nothing is kept.
struct Notes;

impl<'de> DeserializeSeed<'de> for Notes {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Notes {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value::<String>()?;
        }
        Ok(())
    }
}

/// The entry of the tensor of a name.
struct Info<'a>(&'a str);

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Dtype,
    Shape,
    DataOffsets,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for Info<'_> {
    type Value = TensorInfo;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<TensorInfo, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Info<'_> {
    type Value = TensorInfo;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the type, shape and offsets of `{}`", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TensorInfo, A::Error> {
        let twice = |field| A::Error::custom(format!("`{}` has two entries `{field}`", self.0));
        let (mut dtype, mut shape, mut data_offsets) = (None, None, None);
        while let Some(field) = map.next_key()? {
            match field {
                Field::Dtype if dtype.is_some() => return Err(twice("dtype")),
                Field::Shape if shape.is_some() => return Err(twice("shape")),
                Field::DataOffsets if data_offsets.is_some() => return Err(twice("data_offsets")),
                Field::Dtype => dtype = Some(map.next_value::<Dtype>()?),
                Field::Shape => shape = Some(map.next_value_seed(Shape(self.0))?),
                Field::DataOffsets => data_offsets = Some(map.next_value::<(usize, usize)>()?),
                Field::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let missing = |field| A::Error::custom(format!("`{}` has no `{field}`", self.0));
        Ok(TensorInfo {
            dtype: dtype.ok_or_else(|| missing("dtype"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
            data_offsets: data_offsets.ok_or_else(|| missing("data_offsets"))?,
        })
    }
}

/// The shape of the tensor of a name.
struct Shape<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Shape<'_> {
    type Value = Vec<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Vec<usize>, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Shape<'_> {
    type Value = Vec<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the sizes of `{}`", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Vec<usize>, A::Error> {
        let mut shape = vec![];
        while let Some(size) = sizes.next_element()? {
            if shape.len() == MAX_RANK {
                return Err(A::Error::custom(format!("`{}` has more than {MAX_RANK} dimensions", self.0)));
            }
            shape.push(size);
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_header_is_what_the_crate_reads() {
        let json = br#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[2,26]},
            "a":{"data_offsets":[0,2],"dtype":"F16","shape":[]}}   "#;
        let ours = parse(json).unwrap();
        let theirs: Metadata = serde_json::from_slice(json).unwrap();
        assert_eq!(ours.data_len(), theirs.data_len());
        for name in ["a", "b"] {
            let [ours, theirs] = [&ours, &theirs].map(|header| header.info(name).unwrap());
            assert_eq!(
                (ours.dtype, &ours.shape, ours.data_offsets),
                (theirs.dtype, &theirs.shape, theirs.data_offsets)
            );
        }
    }

    #[test]
    fn what_comes_twice_is_refused() {
        let entry = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
        for (json, what) in [
            (format!(r#"{{"a":{entry},"a":{entry}}}"#), "the tensor `a` comes twice"),
            (format!(r#"{{"a":{entry},"\u0061":{entry}}}"#), "the tensor `a` comes twice"),
            (r#"{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#.into(), "two entries `dtype`"),
            (r#"{"__metadata__":{},"__metadata__":{}}"#.into(), "`__metadata__` comes twice"),
        ] {
            let said = parse(json.as_bytes()).unwrap_err();
            assert!(said.contains(what), "{said}");
        }
    }

    #[test]
    fn more_than_a_network_has_is_refused_before_it_is_kept() {
        let shape = format!(r#"{{"a":{{"shape":[{}1],"dtype":"U8","data_offsets":[0,1]}}}}"#, "1,".repeat(1 << 16));
        assert!(parse(shape.as_bytes()).unwrap_err().contains("more than 32 dimensions"));
        let tensor = |i: usize| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}},"#);
        let many: String = (0..=1 << 16).map(tensor).collect();
        assert!(parse(format!("{{{many}}}").as_bytes()).unwrap_err().contains("more than 65536 tensors"));
    }

    #[test]
    fn gaps_overlaps_and_wrong_sizes_are_refused() {
        for (shape, offsets) in
            [("[1]", "[1,2]"), ("[2]", "[0,1]"), ("[1]", "[1,0]"), ("[18446744073709551615,2]", "[0,1]")]
        {
            let json = format!(r#"{{"a":{{"dtype":"U8","shape":{shape},"data_offsets":{offsets}}}}}"#);
            assert!(parse(json.as_bytes()).is_err(), "{json}");
        }
        for json in ["", "[]", "{}x", r#"{"a":1}"#, r#"{"a":{}}"#, r#"{"__metadata__":{"a":1}}"#] {
            assert!(parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}
