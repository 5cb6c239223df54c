//! Publishes a model directory on the Hub: one commit of its files, with large ones sent by git's LFS protocol.

use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::http::Response;
use ureq::{Body, SendBody};

use super::digest::sha256_of;
use super::http::{Failure, refusal, text, worth_another_try};
use super::layout::RepoId;
use super::limit::MAX_ANSWER_BYTES;
use super::pace::Pace;
use super::plain;
use super::progress::{Event, Progress};
use super::{Hub, check_revision, url};
use crate::error::{Error, Result};
use candle_deeplab::DeepLab;
use candle_deeplab::config::{CONFIG_FILE, WEIGHTS_FILE};

/// The files that are published; the first two are required.
const FILES: [&str; 5] = [CONFIG_FILE, WEIGHTS_FILE, "README.md", "preprocessor_config.json", "LICENSE"];
/// A refusal's reason is a line.
const MAX_REFUSAL_BYTES: u64 = 4096;
/// What the Hub wants to see of a file to decide where it goes.
const SAMPLE: usize = 512;
/// The most parts of a large file that a server may ask for.
const MAX_PARTS: u64 = 10_000;

/// The result of publishing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Published {
    /// The repo.
    pub repo: String,
    /// The address of its page.
    pub url: String,
    /// The commit that holds the files.
    pub commit: String,
    /// The names of the files.
    pub files: Vec<String>,
    /// How many bytes were sent. Large files that the Hub already had are not sent again.
    pub sent: u64,
}

/// A file to publish.
struct Upload {
    name: &'static str,
    path: PathBuf,
    size: u64,
    sha256: String,
}

#[derive(Deserialize)]
struct Preupload {
    files: Vec<Mode>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mode {
    path: String,
    upload_mode: String,
}

#[derive(Deserialize)]
struct Batch {
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    actions: Option<Actions>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

#[derive(Deserialize)]
struct Actions {
    upload: Action,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Committed {
    commit_oid: String,
}

impl Hub {
    /// Publishes a model directory in a repo, which is created if it does not exist.
    ///
    /// # Errors
    /// That of loading the model if it cannot be loaded; [`Error::Setting`] without a token; otherwise those of
    /// [`file`](Self::file).
    pub fn publish(&self, dir: &Path, repo: &RepoId, private: bool, message: &str) -> Result<Published> {
        if self.settings.offline {
            return Err(Error::Offline { what: format!("the repo `{repo}`") });
        }
        if self.settings.token.is_none() {
            let reason =
                format!("it is not set: make a token that may write at {}/settings/tokens", self.settings.endpoint);
            return Err(Error::Setting { variable: "HF_TOKEN", reason });
        }
        // Refuses a directory that does not load.
        DeepLab::load(dir, &candle_core::Device::Cpu)?;
        let files = files(dir)?;
        self.create(repo, private)?;
        let large = self.large(repo, &files)?;
        let sent = self.upload(repo, &large)?;
        let (commit, small) = self.commit(repo, &files, &large, message)?;
        check_revision(&commit)?;
        Ok(Published {
            repo: repo.to_string(),
            url: format!("{}/{repo}", self.settings.endpoint),
            commit,
            files: files.iter().map(|file| file.name.to_owned()).collect(),
            sent: sent + small,
        })
    }

    fn create(&self, repo: &RepoId, private: bool) -> Result<()> {
        let (owner, name) = repo.as_str().split_once('/').unwrap_or_default();
        let (owner, user) = (json!(owner), self.user()?);
        // The Hub refuses an organisation that is the user.
        let organization = if owner == user { Value::Null } else { owner };
        let body = json!({ "name": name, "organization": organization, "type": "model", "private": private });
        let url = format!("{}/api/repos/create", self.settings.endpoint);
        let response = self.post(&url, "application/json", body.to_string().as_bytes())?;
        match response.status().as_u16() {
            409 if private => self.must_be_private(repo),
            // The repo exists already.
            409 => Ok(()),
            _ => self.accepted(&url, repo, response).map(drop),
        }
    }

    /// Refuses an existing public repo: it would show what its owner wants to keep private.
    fn must_be_private(&self, repo: &RepoId) -> Result<()> {
        let url = format!("{}/api/models/{repo}", self.settings.endpoint);
        let response = self.http.retry(|| {
            let response = self.http.get(&url, &[])?;
            busy(&url, &response)?;
            Ok(response)
        })?;
        let status = response.status();
        let answer: Value = if status.is_success() { self.read_json(&url, response)? } else { Value::Null };
        if answer["private"] == Value::Bool(true) {
            return Ok(());
        }
        let reason =
            "the repo exists and is not known to be private: choose another name, or do not ask for a private one";
        Err(refusal(&url, status, reason))
    }

    fn user(&self) -> Result<Value> {
        let url = format!("{}/api/whoami-v2", self.settings.endpoint);
        let response = self.http.retry(|| {
            let response = self.http.get(&url, &[])?;
            busy(&url, &response)?;
            Ok(response)
        })?;
        if !response.status().is_success() {
            let reason = "the Hub does not know this token: make another at its settings/tokens, and set HF_TOKEN";
            return Err(refusal(&url, response.status(), reason));
        }
        let user: Value = self.read_json(&url, response)?;
        Ok(user["name"].clone())
    }

    /// The files that the Hub wants by LFS.
    fn large<'a>(&self, repo: &RepoId, files: &'a [Upload]) -> Result<Vec<&'a Upload>> {
        let mut described = vec![];
        for file in files {
            let mut sample = vec![];
            let opened = plain::open(&file.path).map_err(Error::io(&file.path))?;
            opened.take(SAMPLE as u64).read_to_end(&mut sample).map_err(Error::io(&file.path))?;
            described.push(json!({ "path": file.name, "sample": BASE64.encode(&sample), "size": file.size }));
        }
        let url = format!("{}/api/models/{repo}/preupload/main", self.settings.endpoint);
        let body = json!({ "files": described }).to_string();
        let response = self.post(&url, "application/json", body.as_bytes())?;
        let answer: Preupload = self.read_json(&url, self.accepted(&url, repo, response)?)?;
        let by_lfs = |name: &str| answer.files.iter().any(|mode| mode.path == name && mode.upload_mode == "lfs");
        Ok(files.iter().filter(|file| by_lfs(file.name) && file.size > 0).collect())
    }

    /// Sends the large files that the Hub does not have. Returns the number of bytes.
    fn upload(&self, repo: &RepoId, files: &[&Upload]) -> Result<u64> {
        if files.is_empty() {
            return Ok(0);
        }
        let objects: Vec<Value> = files.iter().map(|file| json!({ "oid": file.sha256, "size": file.size })).collect();
        let body = json!({
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "objects": objects,
            "hash_algo": "sha256",
            "ref": { "name": "main" },
        });
        let url = format!("{}/{repo}.git/info/lfs/objects/batch", self.settings.endpoint);
        let response = self.post(&url, LFS, body.to_string().as_bytes())?;
        let batch: Batch = self.read_json(&url, self.accepted(&url, repo, response)?)?;
        let mut sent = 0;
        for file in files {
            let wrong = |reason: String| Error::Answer { url: url.clone(), reason };
            let object = batch.objects.iter().find(|object| object.oid == file.sha256);
            let object = object.ok_or_else(|| wrong(format!("nothing is said of `{}`: try again", file.name)))?;
            if let Some(error) = &object.error {
                return Err(wrong(format!("`{}` is refused: {}", file.name, error.message)));
            }
            let Some(actions) = &object.actions else { continue };
            match actions.upload.header.get("chunk_size") {
                Some(size) => self.put_parts(file, &actions.upload, size)?,
                None => drop(self.put(file, &actions.upload.href, 0, file.size)?),
            }
            if let Some(verify) = &actions.verify {
                let body = json!({ "oid": file.sha256, "size": file.size }).to_string();
                let response = self.post(&verify.href, LFS, body.as_bytes())?;
                self.accepted(&verify.href, repo, response)?;
            }
            sent += file.size;
        }
        Ok(sent)
    }

    /// Sends a part of a file, and returns the answer's ETag.
    fn put(&self, file: &Upload, to: &str, start: u64, length: u64) -> Result<Option<String>> {
        let result = self.http.retry(|| {
            let mut source = plain::open(&file.path).map_err(Error::io(&file.path))?;
            source.seek(SeekFrom::Start(start)).map_err(Error::io(&file.path))?;
            (self.progress)(Event::Begin { what: file.name, done: start, total: Some(file.size) });
            let mut body = Watched {
                inner: source.take(length),
                done: start,
                progress: &self.progress,
                pace: Pace::new(self.http.lowest_rate()),
                sent: None,
            };
            let length = length.to_string();
            let response =
                self.http.send("PUT", to, &[("content-length", &length)], SendBody::from_reader(&mut body))?;
            busy(to, &response)?;
            if !response.status().is_success() {
                let reason = format!("the store does not take `{}`: try again", file.name);
                return Err(refusal(to, response.status(), reason).into());
            }
            Ok(text(response.headers(), "etag").map(str::to_owned))
        });
        (self.progress)(Event::End);
        result
    }

    fn put_parts(&self, file: &Upload, action: &Action, size: &Value) -> Result<()> {
        let wrong = |reason: &str| Error::Answer { url: action.href.clone(), reason: format!("{reason}: try again") };
        let size = size.as_u64().or_else(|| size.as_str()?.parse().ok()).filter(|size| *size > 0);
        let size = size.ok_or_else(|| wrong("it names no size for the parts of a large file"))?;
        let parts = file.size.div_ceil(size);
        if parts > MAX_PARTS {
            return Err(wrong("it wants a file in more parts than there can be"));
        }
        let mut done = vec![];
        for part in 0..parts {
            let number = part + 1;
            // The keys are part numbers in decimal; the Hub's have leading zeros.
            let named = |key: &String| key.parse() == Ok(number);
            let to = action.header.iter().find(|(key, _)| named(key)).and_then(|(_, to)| to.as_str());
            let to = to.ok_or_else(|| wrong("it names no place for a part of a large file"))?;
            let start = part * size;
            let etag = self.put(file, to, start, size.min(file.size - start))?;
            let etag = etag.ok_or_else(|| wrong("the store gave no ETag for a part"))?;
            done.push(json!({ "partNumber": number, "etag": etag }));
        }
        let body = json!({ "oid": file.sha256, "parts": done }).to_string();
        let response = self.post(&action.href, LFS, body.as_bytes())?;
        if !response.status().is_success() {
            let reason = format!("the store could not put `{}` together: try again", file.name);
            return Err(refusal(&action.href, response.status(), reason));
        }
        Ok(())
    }

    /// Makes the commit. Returns its hash and the number of bytes in it.
    fn commit(&self, repo: &RepoId, files: &[Upload], large: &[&Upload], message: &str) -> Result<(String, u64)> {
        let mut lines = vec![json!({ "key": "header", "value": { "summary": message, "description": "" } })];
        let mut sent = 0;
        for file in files {
            let by_lfs = large.iter().any(|other| other.name == file.name);
            lines.push(if by_lfs {
                let value = json!({ "path": file.name, "algo": "sha256", "oid": file.sha256, "size": file.size });
                json!({ "key": "lfsFile", "value": value })
            } else {
                sent += file.size;
                let content = std::fs::read(&file.path).map_err(Error::io(&file.path))?;
                let value = json!({ "path": file.name, "content": BASE64.encode(content), "encoding": "base64" });
                json!({ "key": "file", "value": value })
            });
        }
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let url = format!("{}/api/models/{repo}/commit/{}", self.settings.endpoint, url::escape("main", ""));
        // Not retried: it may have succeeded although the answer was lost.
        let headers = [("content-type", "application/x-ndjson")];
        let response = self.http.send("POST", &url, &headers, body.as_bytes()).map_err(|failure| match failure {
            Failure::Final(error) | Failure::Again(error, _) => error,
        })?;
        let committed: Committed = self.read_json(&url, self.accepted(&url, repo, response)?)?;
        Ok((committed.commit_oid, sent))
    }

    fn post(&self, url: &str, kind: &str, body: &[u8]) -> Result<Response<Body>> {
        self.http.retry(|| {
            let response = self.http.send("POST", url, &[("content-type", kind), ("accept", kind)], body)?;
            busy(url, &response)?;
            Ok(response)
        })
    }

    fn accepted(&self, url: &str, repo: &RepoId, response: Response<Body>) -> Result<Response<Body>> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let said = self.http.read_text(response, MAX_REFUSAL_BYTES).unwrap_or_default();
        let said = serde_json::from_str::<Value>(&said).ok().and_then(|v| Some(v["error"].as_str()?.to_owned()));
        let said = said.map(|said| format!(" (it says: {said})")).unwrap_or_default();
        let reason = match status.as_u16() {
            401 | 403 => format!("this token may not write to `{repo}`: use one that may{said}"),
            404 => format!("there is no `{repo}`: check the name{said}"),
            _ => format!("the Hub does not take it{said}"),
        };
        Err(refusal(url, status, reason))
    }

    fn read_json<T: DeserializeOwned>(&self, url: &str, response: Response<Body>) -> Result<T> {
        let wrong = |error: &dyn std::fmt::Display| Error::Answer {
            url: url.into(),
            reason: format!("the answer is not the Hub's ({error}): is HF_ENDPOINT right?"),
        };
        let text = self.http.read_text(response, MAX_ANSWER_BYTES).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => Error::Network { url: url.into(), reason: format!("{error}: try again later") },
            _ => wrong(&error),
        })?;
        serde_json::from_str(&text).map_err(|error| wrong(&error))
    }
}

const LFS: &str = "application/vnd.git-lfs+json";

fn busy(url: &str, response: &Response<Body>) -> std::result::Result<(), Failure> {
    match worth_another_try(response) {
        Some(asked) => {
            let error = refusal(url, response.status(), "the server is busy or ill: try again later");
            Err(Failure::Again(error, asked))
        }
        None => Ok(()),
    }
}

fn files(dir: &Path) -> Result<Vec<Upload>> {
    let mut files = vec![];
    for name in FILES {
        let path = dir.join(name);
        let size = match path.metadata() {
            Ok(file) if file.is_file() => file.len(),
            Err(error) if name == CONFIG_FILE || name == WEIGHTS_FILE => return Err(Error::io(&path)(error)),
            _ => continue,
        };
        files.push(Upload { name, sha256: sha256_of(&path)?, path, size });
    }
    Ok(files)
}

/// A body that says how far it has got, and ends where nobody takes it.
struct Watched<'a, R> {
    inner: R,
    done: u64,
    progress: &'a Progress,
    pace: Pace,
    /// How many bytes were given away last, and when.
    sent: Option<(usize, Instant)>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if let Some((bytes, since)) = self.sent.take() {
            self.pace.count(bytes, since.elapsed())?;
        }
        let read = self.inner.read(buffer)?;
        self.done += read as u64;
        (self.progress)(Event::Advance { done: self.done });
        self.sent = Some((read, Instant::now()));
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::hub::pace::LowestRate;
    use crate::hub::silent;

    #[test]
    fn a_server_that_takes_a_byte_now_and_then_is_given_up() {
        let lowest = LowestRate { bytes: 1000, within: Duration::from_millis(50) };
        let progress = silent();
        let mut body =
            Watched { inner: std::io::repeat(7), done: 0, progress: &progress, pace: Pace::new(lowest), sent: None };
        let error = loop {
            match body.read(&mut [0]) {
                Ok(read) => assert_eq!(read, 1),
                Err(error) => break error,
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(error.to_string().contains("less than 1000 bytes in 0.05 seconds"), "{error}");
        assert!(body.done < 1000);
    }
}
