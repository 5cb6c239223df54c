//! What is commonly found under the name of a file of weights, and is none.

/// How many bytes of a file tell what it is.
pub(crate) const HEAD: usize = 64;

const FETCH: &str = "the download went wrong: fetch the file again";
const CONVERT: &str = "`weights-convert convert FILE --out MODEL` makes a model directory of it";

/// What a file is by its first bytes, and what to do; `None` where they say nothing.
pub(crate) fn kind(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = head.trim_ascii_start().to_ascii_lowercase();
    let page = [&b"<!doctype"[..], b"<html", b"<head", b"<?xml"].iter().any(|tag| text.starts_with(tag));
    Some(match head {
        // The length of a header, and its beginning: one that is damaged is still what it is.
        [_, _, _, _, 0, 0, 0, 0, b'{', ..] => return None,
        _ if page => ("a web page", FETCH),
        _ if head.starts_with(b"version https://git-lfs.") => {
            ("a pointer of Git LFS", "`git lfs pull` fetches the file")
        }
        // PROTO, which begins every pickle that PyTorch writes.
        [0x80, 2..=5, ..] => ("a pickle, as PyTorch writes them", CONVERT),
        _ if head.starts_with(b"PK\x03\x04") => ("a zip archive, as PyTorch writes them", CONVERT),
        _ if head.starts_with(b"\x89HDF\r\n\x1a\n") => {
            ("an HDF5 file, as Keras writes them", "save the weights as safetensors")
        }
        [0x1f, 0x8b, ..] => ("a gzip archive", "unpack it"),
        _ if text.starts_with(b"{") && !text.contains(&0) => ("a JSON text", FETCH),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_of_weights_is_called_by_its_name() {
        for (head, is) in [
            (&b"\n <!DOCTYPE html><html>"[..], Some("a web page")),
            (b"<html><body>404", Some("a web page")),
            (b"version https://git-lfs.github.com/spec/v1\n", Some("a pointer of Git LFS")),
            (b"\x80\x02}q\x00", Some("a pickle, as PyTorch writes them")),
            (b"PK\x03\x04archive/data.pkl", Some("a zip archive, as PyTorch writes them")),
            (b"\x1f\x8b\x08", Some("a gzip archive")),
            (b"{\"error\": \"no\"}", Some("a JSON text")),
            (b"\x40\0\0\0\0\0\0\0{\"", None),
            // Lengths that look like something else.
            (b"\x80\x02\0\0\0\0\0\0{\"", None),
            (b"{\0\0\0\0\0\0\0#damaged", None),
            (b"", None),
        ] {
            assert_eq!(kind(head).map(|(is, _)| is), is, "{head:?}");
        }
    }
}
