//! Downloads a file completely and correctly, across interruptions.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ureq::http::Response;
use ureq::{Body, BodyReader};

use super::digest::Digest;
use super::http::{Failure, Http, refusal, text, worth_another_try};
use super::limit::Limit;
use super::lock::unwritable;
use super::pace::Pace;
use super::plain;
use super::progress::{Event, Progress};
use crate::error::{Error, Result};

/// So much must arrive for an interruption not to count as a failed attempt.
const ENOUGH_PROGRESS: u64 = 1 << 16;
const BUFFER: usize = 1 << 16;

/// A file to download. The caller holds the lock of its target.
pub(super) struct Download<'a> {
    pub(super) http: &'a Http,
    pub(super) url: &'a str,
    /// Its name in messages.
    pub(super) what: &'a str,
    /// Its size in bytes, if it is known.
    pub(super) size: Option<u64>,
    /// How many it may have at most.
    pub(super) limit: Limit,
    /// What it must be, where that is known.
    pub(super) digest: Option<&'a Digest>,
    /// The version of the file: the server continues the download (`If-Range`) only if it still has this one.
    pub(super) validator: Option<&'a str>,
    pub(super) progress: &'a Progress,
}

impl Download<'_> {
    /// Downloads the file to `target`. What has arrived is kept in `target`.incomplete, where the next attempt
    /// continues, be it in this process or in a later one.
    pub(super) fn run(&self, target: &Path) -> Result<()> {
        if self.size.is_some_and(|size| size > self.limit.bytes) {
            return Err(self.too_large());
        }
        let partial = with_suffix(target, ".incomplete");
        loop {
            let resumed = self.transfer(&partial)?;
            match self.check(&partial) {
                Ok(()) => break,
                Err(error) => {
                    std::fs::remove_file(&partial).map_err(unwritable_at(&partial))?;
                    // The part that was there before may be the wrong one: start over.
                    if !resumed {
                        return Err(error);
                    }
                }
            }
        }
        std::fs::rename(&partial, target).map_err(|error| unwritable_at(target)(error))
    }

    /// Downloads all bytes. Returns whether some were there already.
    fn transfer(&self, partial: &Path) -> Result<bool> {
        let file = &mut plain::open_to_write(partial).map_err(unwritable_at(partial))?;
        let mut done = file.seek(SeekFrom::End(0)).map_err(unwritable_at(partial))?;
        if done > self.size.unwrap_or(self.limit.bytes) {
            start_over(file, &mut done).map_err(unwritable_at(partial))?;
        }
        let resumed = done > 0;
        (self.progress)(Event::Begin { what: self.what, done, total: self.size });
        // Counts new bytes only: starting over again and again is not progress.
        let mut furthest = done;
        let mut tries = self.http.tries();
        let result = loop {
            if self.size == Some(done) {
                break file.sync_all().map_err(|error| unwritable_at(partial)(error));
            }
            match self.attempt(file, &mut done, partial) {
                Ok(()) => break file.sync_all().map_err(|error| unwritable_at(partial)(error)),
                Err(failure) => {
                    if done.saturating_sub(furthest) >= ENOUGH_PROGRESS {
                        furthest = done;
                        tries.reset();
                    }
                    if let Err(error) = tries.wait(failure) {
                        break Err(error);
                    }
                }
            }
        };
        (self.progress)(Event::End);
        if matches!(result, Err(Error::Answer { .. })) && done == 0 {
            // Nothing has arrived that another attempt could go on with.
            std::fs::remove_file(partial).map_err(unwritable_at(partial))?;
        }
        result.map(|()| resumed)
    }

    /// Requests what is missing, up to the end of the file.
    fn attempt(&self, file: &mut File, done: &mut u64, partial: &Path) -> std::result::Result<(), Failure> {
        let range = format!("bytes={done}-");
        let mut headers = vec![];
        if *done > 0 {
            headers.push(("range", range.as_str()));
            headers.extend(self.validator.map(|validator| ("if-range", validator)));
        }
        let response = self.http.get(self.url, &headers)?;
        let mut total = self.size;
        match response.status().as_u16() {
            200 => {
                start_over(file, done).map_err(unwritable_at(partial))?;
                total = total.or(response.body().content_length());
            }
            206 => match content_range(&response) {
                Some((start, all)) if start == *done && (total.is_none() || all.is_none() || total == all) => {
                    total = total.or(all);
                }
                _ => {
                    start_over(file, done).map_err(unwritable_at(partial))?;
                    return Err(self.again("it sent another part of the file than was asked for"));
                }
            },
            416 => {
                start_over(file, done).map_err(unwritable_at(partial))?;
                return Err(self.again("it has no such part of the file"));
            }
            _ => return Err(self.refused(&response)),
        }
        if total.is_some_and(|total| total > self.limit.bytes) {
            return Err(Failure::Final(self.too_large()));
        }
        self.copy(response.into_body().into_reader(), file, done, total, partial)
    }

    fn copy(
        &self,
        mut body: BodyReader<'static>,
        file: &mut File,
        done: &mut u64,
        total: Option<u64>,
        partial: &Path,
    ) -> std::result::Result<(), Failure> {
        let mut buffer = vec![0; BUFFER];
        let mut pace = Pace::new(self.http.lowest_rate());
        loop {
            let start = Instant::now();
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => {
                    return Err(self.again(&format!("the connection broke ({error}); what has arrived is kept")));
                }
            };
            let waited = start.elapsed();
            if *done + read as u64 > total.unwrap_or(self.limit.bytes) {
                start_over(file, done).map_err(unwritable_at(partial))?;
                return Err(match total {
                    Some(_) => self.again("it sent more than it had said"),
                    None => Failure::Final(self.too_large()),
                });
            }
            file.write_all(&buffer[..read]).map_err(unwritable_at(partial))?;
            *done += read as u64;
            (self.progress)(Event::Advance { done: *done });
            pace.count(read, waited).map_err(|slow| {
                let reason = format!("{slow}; what has arrived is kept: try again later");
                Failure::Final(Error::Network { url: self.url.into(), reason })
            })?;
        }
        match total {
            Some(total) if *done < total => {
                Err(self.again(&format!("the connection ended at byte {done} of {total}; what has arrived is kept")))
            }
            _ => Ok(()),
        }
    }

    fn check(&self, partial: &Path) -> Result<()> {
        let Some(digest) = self.digest else { return Ok(()) };
        match digest.check(partial)? {
            (_, true) => Ok(()),
            (found, false) => Err(Error::Digest {
                url: self.url.into(),
                digest: digest.kind(),
                found,
                wanted: digest.wanted().into(),
            }),
        }
    }

    fn refused(&self, response: &Response<Body>) -> Failure {
        let status = response.status();
        let again = worth_another_try(response);
        let reason = match status.as_u16() {
            401 | 403 => "it does not let us have this file; the address may have expired: run the command again",
            404 | 410 => "there is no such file any more: look for its new address",
            429 => "too many requests: wait a few minutes, and try again",
            _ if again.is_some() => "it is busy or ill: try again later; what has arrived is kept",
            _ => "an answer that is no file: is a proxy in between?",
        };
        let error = refusal(self.url, status, reason);
        match again {
            Some(asked) => Failure::Again(error, asked),
            None => Failure::Final(error),
        }
    }

    fn again(&self, what: &str) -> Failure {
        let reason = format!("{what}: try again");
        Failure::Again(Error::Network { url: self.url.into(), reason }, None)
    }

    fn too_large(&self) -> Error {
        Error::Answer { url: self.url.into(), reason: self.limit.to_string() }
    }
}

/// `Content-Range: bytes 5-9/10` → (5, Some(10)).
fn content_range(response: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let (range, total) = text(response.headers(), "content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    Some((start, total.trim().parse().ok()))
}

fn start_over(file: &mut File, done: &mut u64) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    *done = 0;
    Ok(())
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(crate) fn unwritable_at(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::Cache { path: path.to_owned(), reason: unwritable(&source), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_what_to_do() {
        let path = Path::new("/cache/blob.incomplete");
        let message = unwritable_at(path)(io::ErrorKind::StorageFull.into()).to_string();
        assert!(message.starts_with("/cache/blob.incomplete: the disk is full: make room"), "{message}");
        assert!(message.contains("HF_HOME") && message.contains("what has arrived is kept"), "{message}");
    }

    #[test]
    fn a_range_is_understood_or_refused() {
        let range = |value: &str| {
            let response = Response::builder().header("content-range", value).body(Body::builder().data("")).unwrap();
            content_range(&response)
        };
        assert_eq!(range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(range("bytes 5-9/*"), Some((5, None)));
        for wrong in ["5-9/10", "bytes */10", "bytes x-9/10", "items 5-9/10"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }
}
