//! Addresses and their parts.

use ureq::http::Uri;

use crate::error::{Error, Result};

/// Scheme, host and port, which decide whether a server may see the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    https: bool,
    pub(super) host: String,
    port: u16,
}

impl Origin {
    /// # Errors
    /// [`Error::Name`] if it is not an http or https address.
    pub(super) fn of(url: &str) -> Result<Self> {
        let bad = || Error::Name { name: url.into(), reason: "it is not an http or https address".into() };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?.to_ascii_lowercase();
        Ok(Self { https, host, port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }) })
    }
}

/// Escapes everything as `%XX` but letters, digits, `-_.~` and the characters in `kept`.
pub(super) fn escape(text: &str, kept: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || kept.as_bytes().contains(&byte) {
            escaped.push(byte.into());
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// A safe file name for an address: the last part of its path.
pub(super) fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or("");
    let harmless = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let name: String = last.chars().map(harmless).take(200).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "download".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_parts_of_addresses() {
        assert_eq!(escape("refs/pr/1", ""), "refs%2Fpr%2F1");
        assert_eq!(escape("a b/ü.txt", "/"), "a%20b/%C3%BC.txt");
    }

    #[test]
    fn addresses_become_names() {
        for (url, name) in [
            ("https://a.co/x/model-1.pth", "model-1.pth"),
            ("https://a.co/x.tar.gz?token=1/2", "x.tar.gz"),
            ("https://a.co/%2e%2e", "_2e_2e"),
            ("https://a.co/..", "download"),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
    }
}
