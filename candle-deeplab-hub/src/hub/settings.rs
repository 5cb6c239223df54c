//! Settings, from huggingface_hub's environment variables.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::pace::LowestRate;
use super::url::Origin;
use crate::error::{Error, Result};

const ENDPOINT: &str = "https://huggingface.co";
/// A token is one line, shorter than this.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Settings of the Hub's client: addresses, folders, token and time limits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Hub's address, without a slash at the end.
    pub endpoint: String,
    /// The cache that is shared with Python's huggingface_hub.
    pub cache: PathBuf,
    /// Where converted models are kept.
    pub models: PathBuf,
    /// The token that identifies the user to the Hub.
    pub token: Option<Token>,
    /// Whether the network may not be used.
    pub offline: bool,
    /// Whether progress bars are unwanted.
    pub no_progress: bool,
    /// The user or organisation on the Hub whose repos (`namespace/id`) are preferred to the authors' files.
    pub namespace: Option<String>,
    /// How long to wait for a connection, or for the next bytes of an answer.
    pub timeout: Duration,
    /// How slow a transfer may be; a slower one ends.
    pub lowest_rate: LowestRate,
    /// How long to wait before the first retry; each further one waits twice as long.
    pub backoff: Duration,
}

/// A secret and its origin. `Debug` prints the origin only.
#[derive(Clone)]
pub struct Token {
    pub(super) secret: String,
    /// The environment variable or the file that it came from.
    pub from: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Token {
    /// A token and its origin.
    ///
    /// # Errors
    /// [`Error::Setting`] if it cannot be part of an HTTP header.
    pub fn new(secret: &str, from: impl Into<String>) -> Result<Self> {
        let secret = secret.trim().to_owned();
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            let reason = "the token is not one line of letters and digits".into();
            return Err(Error::Setting { variable: "HF_TOKEN", reason });
        }
        Ok(Self { secret, from: from.into() })
    }
}

impl Settings {
    /// The settings of the environment: `HF_HOME`, `HF_HUB_CACHE`, `HF_ASSETS_CACHE`, `HF_TOKEN` before
    /// `HF_TOKEN_PATH`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`, `HF_HUB_DOWNLOAD_TIMEOUT` and `HF_HUB_DISABLE_PROGRESS_BARS`
    /// as in Python's huggingface_hub, and `CANDLE_DEEPLAB_NAMESPACE`.
    ///
    /// # Errors
    /// [`Error::Setting`] with the variable that is not valid.
    pub fn from_env() -> Result<Self> {
        Self::from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let user = variable("HOME").or_else(|| variable("USERPROFILE")).map(PathBuf::from);
        let path = |name: &str| variable(name).map(|value| expand(&value, user.as_deref()));
        let home = path("HF_HOME").or_else(|| {
            let cache = path("XDG_CACHE_HOME").or_else(|| user.as_ref().map(|user| user.join(".cache")))?;
            Some(cache.join("huggingface"))
        });
        let home = home.ok_or_else(|| Error::Setting {
            variable: "HF_HOME",
            reason: "neither it nor HOME is set: set it to a folder for downloads".into(),
        })?;
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        Origin::of(&endpoint).map_err(|_| Error::Setting {
            variable: "HF_ENDPOINT",
            reason: format!("`{endpoint}` is not an address such as {ENDPOINT}"),
        })?;
        let on = |name: &str| variable(name).is_some_and(|value| is_true(&value));
        Ok(Self {
            endpoint,
            cache: path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).unwrap_or_else(|| home.join("hub")),
            models: path("HF_ASSETS_CACHE")
                .or_else(|| path("HUGGINGFACE_ASSETS_CACHE"))
                .unwrap_or_else(|| home.join("assets"))
                .join("candle-deeplab"),
            token: token(&variable, path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token")))?,
            offline: on("HF_HUB_OFFLINE") || on("TRANSFORMERS_OFFLINE"),
            no_progress: on("HF_HUB_DISABLE_PROGRESS_BARS"),
            namespace: variable("CANDLE_DEEPLAB_NAMESPACE"),
            timeout: timeout(variable("HF_HUB_DOWNLOAD_TIMEOUT"))?,
            lowest_rate: LowestRate::default(),
            backoff: Duration::from_millis(300),
        })
    }
}

/// The values that huggingface_hub takes for true.
fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

/// Replaces a leading `~` by the user's home folder.
fn expand(value: &str, user: Option<&Path>) -> PathBuf {
    match (value.strip_prefix('~'), user) {
        (Some(""), Some(user)) => user.to_owned(),
        (Some(rest), Some(user)) if rest.starts_with(['/', '\\']) => user.join(&rest[1..]),
        _ => value.into(),
    }
}

fn token(variable: &impl Fn(&str) -> Option<String>, file: PathBuf) -> Result<Option<Token>> {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(secret) = variable(name) {
            return Token::new(&secret, name).map(Some);
        }
    }
    if variable("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| is_true(&value)) || !file.is_file() {
        return Ok(None);
    }
    let text = candle_deeplab::file::read_text(&file, MAX_TOKEN_BYTES)?.unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(None);
    }
    let in_file = |_| Error::Setting {
        variable: "HF_TOKEN_PATH",
        reason: format!("`{}` does not hold a token of one line", file.display()),
    };
    Ok(Some(Token::new(&text, file.display().to_string()).map_err(in_file)?))
}

fn timeout(value: Option<String>) -> Result<Duration> {
    let Some(value) = value else { return Ok(Duration::from_secs(10)) };
    let seconds = value.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
    let wrong = || Error::Setting {
        variable: "HF_HUB_DOWNLOAD_TIMEOUT",
        reason: format!("`{value}` is not a number of seconds from 1 to 3600"),
    };
    Ok(Duration::from_secs(seconds.ok_or_else(wrong)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::from(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn folders_are_where_huggingface_hub_has_them() {
        let folders = |variables: &[(&str, &str)]| {
            let Settings { cache, models, .. } = settings(variables).unwrap();
            [cache, models].map(|path| path.display().to_string())
        };
        let home = ("HOME", "/u");
        assert_eq!(folders(&[home]), ["/u/.cache/huggingface/hub", "/u/.cache/huggingface/assets/candle-deeplab"]);
        assert_eq!(folders(&[home, ("XDG_CACHE_HOME", "/x")])[0], "/x/huggingface/hub");
        assert_eq!(folders(&[home, ("HF_HOME", "~/hf")]), ["/u/hf/hub", "/u/hf/assets/candle-deeplab"]);
        assert_eq!(folders(&[home, ("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")])[0], "/c");
        assert_eq!(folders(&[home, ("HF_ASSETS_CACHE", "/a")])[1], "/a/candle-deeplab");
        assert!(settings(&[]).unwrap_err().to_string().contains("HF_HOME"));
    }

    #[test]
    fn the_rest_is_what_the_variables_say() {
        let plain = settings(&[("HOME", "/u")]).unwrap();
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert!(!plain.offline && !plain.no_progress && plain.token.is_none() && plain.namespace.is_none());
        for (value, offline) in [("1", true), ("on", true), ("True", true), ("0", false), ("no", false)] {
            assert_eq!(settings(&[("HOME", "/u"), ("HF_HUB_OFFLINE", value)]).unwrap().offline, offline);
        }
        let mirror = settings(&[("HOME", "/u"), ("HF_ENDPOINT", "http://mirror:8080/")]).unwrap();
        assert_eq!(mirror.endpoint, "http://mirror:8080");
        for wrong in ["mirror", "ftp://mirror", "http://"] {
            assert!(settings(&[("HOME", "/u"), ("HF_ENDPOINT", wrong)]).is_err(), "{wrong}");
        }
        assert!(settings(&[("HOME", "/u"), ("HF_HUB_DOWNLOAD_TIMEOUT", "soon")]).is_err());
    }

    #[test]
    fn a_token_is_found_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "from_file\n").unwrap();
        let file = file.display().to_string();
        let token = |variables: &[(&str, &str)]| {
            settings(&[&[("HOME", "/u"), ("HF_TOKEN_PATH", file.as_str())], variables].concat()).map(|s| s.token)
        };
        assert_eq!(token(&[]).unwrap().unwrap().secret, "from_file");
        assert_eq!(token(&[("HF_TOKEN", " direct ")]).unwrap().unwrap().secret, "direct");
        assert!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).unwrap().is_none());
        assert!(token(&[("HF_TOKEN", "two\nlines")]).is_err());
        let shown = format!("{:?}", settings(&[("HOME", "/u"), ("HF_TOKEN", "hf_secret")]).unwrap());
        assert!(shown.contains("HF_TOKEN") && !shown.contains("hf_secret"), "{shown}");
    }
}
