//! Forms with files, as browsers send and read them.

use axum::body::Bytes;
use http_body_util::{BodyDataStream, Full};
use utoipa::ToSchema;

use crate::options::Options;
use crate::problem::{Problem, Result};
use crate::work::Picture;

/// The most fields of a form.
const MAX_FIELDS: usize = 32;

/// A form, as the interface's document has it.
#[derive(ToSchema)]
#[expect(dead_code)]
#[schema(description = "A form with the image; the options may be fields of it, too.")]
pub(crate) struct Form {
    image: File,
}

/// A file's bytes, as the interface's document has them.
#[derive(ToSchema)]
#[expect(dead_code)]
#[schema(value_type = String, format = Binary, description = "A file's bytes.")]
pub(crate) struct File(Vec<u8>);

/// Reads a form: the image in its field `image` (or `file`), and options in fields with their names.
///
/// # Errors
/// The body is no form, or there is no image in it.
pub(crate) async fn read(content_type: &str, bytes: Vec<u8>, mut options: Options) -> Result<(Options, Picture)> {
    let wrong = |error: multer::Error| Problem::bad(format!("the form cannot be read: {error}"));
    let boundary = multer::parse_boundary(content_type).map_err(wrong)?;
    let body = BodyDataStream::new(Full::<Bytes>::new(bytes.into()));
    let mut form = multer::Multipart::new(body, boundary);
    let (mut image, mut fields) = (None, 0);
    while let Some(field) = form.next_field().await.map_err(wrong)? {
        fields += 1;
        if fields > MAX_FIELDS {
            return Err(Problem::bad(format!("a form of more than {MAX_FIELDS} fields is not read")));
        }
        let name = field.name().unwrap_or_default().to_owned();
        if name == "image" || name == "file" {
            image = Some(field.bytes().await.map_err(wrong)?);
        } else {
            options.set(&name, field.text().await.map_err(wrong)?)?;
        }
    }
    let image = image.ok_or_else(|| Problem::bad("the form has no field `image`"))?;
    Ok((options, Picture::Encoded(image.into())))
}

/// A part of an answer in several formats.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) disposition: String,
    pub(crate) bytes: Vec<u8>,
}

/// Writes parts as `multipart/form-data`, and returns its content type and bytes.
pub(crate) fn write(parts: &[Part]) -> (String, Vec<u8>) {
    let boundary = boundary(parts);
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.bytes.len() + 256).sum());
    for Part { name, content_type, disposition, bytes: content } in parts {
        let file = disposition.trim_start_matches("inline; ");
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; {file}\r\nContent-Type: {content_type}\r\n\r\n"
        );
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), bytes)
}

/// A boundary that no part contains.
fn boundary(parts: &[Part]) -> String {
    let mut number = 0u64;
    loop {
        let boundary = format!("candle-deeplab-{number:016x}");
        let contains = |part: &Part| part.bytes.windows(boundary.len()).any(|window| window == boundary.as_bytes());
        if !parts.iter().any(contains) {
            return boundary;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_can_be_read() {
        let part = |name, bytes: &[u8]| Part {
            name,
            content_type: "image/png",
            disposition: format!("inline; filename=\"{name}.png\""),
            bytes: bytes.to_vec(),
        };
        let hidden = b"\r\n--candle-deeplab-0000000000000000\r\n";
        let (content_type, bytes) = write(&[part("image", hidden), part("format", b"json")]);
        assert!(content_type.ends_with("0001"));
        let (options, picture) = read(&content_type, bytes, Options::default()).await.unwrap();
        assert_eq!(options.format.as_deref(), Some("json"));
        assert!(matches!(picture, Picture::Encoded(bytes) if bytes == hidden));
    }

    #[tokio::test]
    async fn other_forms_are_refused_in_words() {
        let form = |name: &str| {
            format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nvalue\r\n--x--\r\n").into_bytes()
        };
        for (bytes, said) in [
            (form("colour"), "there is no option `colour`"),
            (form("opacity"), "`opacity` must be a number"),
            (form("format"), "no field `image`"),
            (b"nothing".to_vec(), "cannot be read"),
        ] {
            let error = read("multipart/form-data; boundary=x", bytes, Options::default()).await.unwrap_err();
            assert!(error.message.contains(said), "{error:?}");
        }
    }
}
