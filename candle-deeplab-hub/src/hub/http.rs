//! HTTP requests: proxies, redirects, retries, and which hosts get the token.

use std::env;
use std::io::{self, Read};
use std::time::Duration;

use ureq::http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, AsSendBody, Body, Proxy};

use super::pace::{LowestRate, Paced};
use super::plain;
use super::settings::Settings;
use super::url::Origin;
use crate::error::{Error, Result};

/// With more redirects than this, they are taken for a loop.
const MAX_REDIRECTS: usize = 10;
/// How often a request is tried.
const ATTEMPTS: u32 = 5;
/// All certificates that Mozilla trusts take a quarter of a MiB.
const MAX_PEM_BYTES: u64 = 16 << 20;
/// No server's wish to wait longer is heard.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Why a request failed, and whether to try again.
pub(super) enum Failure {
    /// Another attempt will not help.
    Final(crate::Error),
    /// Another attempt may help, perhaps after the time that the server asked for.
    Again(crate::Error, Option<Duration>),
}

impl<E: Into<crate::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

/// An HTTP client that knows the Hub.
#[derive(Debug, Clone)]
pub(super) struct Http {
    agent: Agent,
    endpoint: Origin,
    authorization: Option<String>,
    backoff: Duration,
    lowest_rate: LowestRate,
}

impl Http {
    /// # Errors
    /// [`Error::Setting`] where the environment's certificates cannot be read.
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are followed below, where each host's right to the token is checked.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(TlsConfig::builder().root_certs(root_certs()?).build())
            .user_agent(concat!("candle-deeplab/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(settings.timeout))
            .timeout_per_read(Some(settings.timeout))
            .timeout_per_write(Some(settings.timeout))
            // Headers that come a byte at a time end, too.
            .timeout_send_request(Some(settings.timeout.max(settings.lowest_rate.within)))
            .timeout_recv_response(Some(settings.timeout.max(settings.lowest_rate.within)))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            endpoint: Origin::of(&settings.endpoint)?,
            authorization: settings.token.as_ref().map(|token| format!("Bearer {}", token.secret)),
            backoff: settings.backoff,
            lowest_rate: settings.lowest_rate,
        })
    }

    /// How slow a transfer may be.
    pub(super) fn lowest_rate(&self) -> LowestRate {
        self.lowest_rate
    }

    /// The text of an answer of at most so many bytes, which arrives fast enough.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn read_text(&self, response: Response<Body>, limit: u64) -> io::Result<String> {
        let mut text = String::new();
        let arriving = Paced::new(response.into_body().into_reader(), self.lowest_rate);
        arriving.take(limit + 1).read_to_string(&mut text)?;
        if text.len() as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {limit} bytes")));
        }
        Ok(text)
    }

    /// Whether the token is for this address.
    pub(super) fn is_ours(&self, url: &str) -> bool {
        Origin::of(url).is_ok_and(|origin| origin == self.endpoint)
    }

    /// Sends one request without following redirects. Only the Hub's own host gets the token.
    pub(super) fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl AsSendBody,
    ) -> std::result::Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = self.authorization.as_ref().filter(|_| self.is_ours(url)) {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        // Digests and ranges refer to the uncompressed file.
        let request = request.header(header::ACCEPT_ENCODING, "identity").body(body);
        let request = request.map_err(|_| Error::Name { name: url.into(), reason: "it is not an address".into() })?;
        let request = self.agent.configure_request(request).proxy(proxy_for(url)?).build();
        self.agent.run(request).map_err(|error| no_answer(url, &error))
    }

    /// Sends a GET and follows redirects. Returns the last answer, whatever its status.
    pub(super) fn get(&self, url: &str, headers: &[(&str, &str)]) -> std::result::Result<Response<Body>, Failure> {
        let mut at = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send("GET", &at, headers, ())?;
            match redirect(&at, &response)? {
                Some(next) => at = next,
                None => return Ok(response),
            }
        }
        Err(too_many(url).into())
    }

    /// The headers of the Hub's answer about a file, and the address of its content. Redirects are followed until one
    /// leaves the host that names the commit: mirrors redirect to the Hub first.
    pub(super) fn head(&self, url: &str) -> std::result::Result<(String, Response<Body>), Failure> {
        let mut at = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send("HEAD", &at, &[], ())?;
            let Some(next) = redirect(&at, &response)? else { return Ok((at, response)) };
            if text(response.headers(), "x-repo-commit").is_some() && Origin::of(&next)? != Origin::of(&at)? {
                return Ok((next, response));
            }
            at = next;
        }
        Err(too_many(url).into())
    }

    /// Repeats `attempt` until it succeeds, fails for good, or has used up its tries.
    pub(super) fn retry<T>(&self, mut attempt: impl FnMut() -> std::result::Result<T, Failure>) -> Result<T> {
        let mut tries = Tries::new(self.backoff);
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(failure) => tries.wait(failure)?,
            }
        }
    }

    pub(super) fn tries(&self) -> Tries {
        Tries::new(self.backoff)
    }
}

/// Counts attempts.
pub(super) struct Tries {
    left: u32,
    pause: Duration,
    first_pause: Duration,
}

impl Tries {
    fn new(first_pause: Duration) -> Self {
        Self { left: ATTEMPTS - 1, pause: first_pause, first_pause }
    }

    /// Forgets earlier failures, since there was progress.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.first_pause);
    }

    /// Waits until it is time for the next attempt.
    ///
    /// # Errors
    /// The failure, if there is to be no further attempt.
    pub(super) fn wait(&mut self, failure: Failure) -> Result<()> {
        match failure {
            Failure::Again(_, asked) if self.left > 0 => {
                self.left -= 1;
                std::thread::sleep(asked.unwrap_or(self.pause).min(LONGEST_WAIT));
                self.pause *= 2;
                Ok(())
            }
            Failure::Again(error, _) | Failure::Final(error) => Err(error),
        }
    }
}

/// The address that an answer redirects to.
fn redirect(from: &str, response: &Response<Body>) -> Result<Option<String>> {
    let follow = [301, 302, 303, 307, 308].contains(&response.status().as_u16());
    let Some(location) = text(response.headers(), "location").filter(|_| follow) else { return Ok(None) };
    let next = join(from, location).ok_or_else(|| Error::Answer {
        url: from.into(),
        reason: "it points to an address that makes no sense: is a proxy in between?".into(),
    })?;
    if from.starts_with("https:") && !next.starts_with("https:") {
        let reason = format!("it points from https to `{next}`, which anybody in between could change: refused");
        return Err(Error::Answer { url: from.into(), reason });
    }
    Ok(Some(next))
}

/// Resolves a link relative to the address of its page.
fn join(base: &str, location: &str) -> Option<String> {
    let uri: Uri = base.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    // A scheme comes before any slash; an address inside a query does not make the link absolute.
    let absolute = location.split(['/', '?', '#']).next().is_some_and(|head| head.ends_with(':'));
    let joined = if absolute {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = uri.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    Origin::of(&joined).is_ok().then_some(joined)
}

fn too_many(url: &str) -> Error {
    Error::Answer { url: url.into(), reason: format!("it was redirected more than {MAX_REDIRECTS} times") }
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|value| !value.is_empty())
}

/// Whether the server is busy or ill, and then how long it asks us to wait.
pub(super) fn worth_another_try(response: &Response<Body>) -> Option<Option<Duration>> {
    let transient = matches!(response.status().as_u16(), 408 | 429 | 500 | 502 | 503 | 504);
    let asked = text(response.headers(), "retry-after").and_then(|value| value.parse().ok()).map(Duration::from_secs);
    transient.then_some(asked)
}

/// The error for a status other than success.
pub(super) fn refusal(url: &str, status: StatusCode, reason: impl Into<String>) -> Error {
    Error::Status { url: url.into(), status: status.as_u16(), reason: reason.into() }
}

/// The error for a request without an answer.
fn no_answer(url: &str, error: &ureq::Error) -> Failure {
    let reason = match error {
        ureq::Error::HostNotFound => {
            "the host was not found: is this machine connected, or does it need a proxy (HTTPS_PROXY)?".into()
        }
        ureq::Error::Timeout(_) => {
            "no answer in time: try again, or set HF_HUB_DOWNLOAD_TIMEOUT to more seconds".into()
        }
        ureq::Error::Io(source) if source.kind() == io::ErrorKind::ConnectionRefused => {
            "nobody answers there: check the address, HF_ENDPOINT and the proxy".into()
        }
        // rustls reports its errors inside an `io::Error`.
        ureq::Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => format!(
            "the connection is not safe ({source}): where a company's proxy signs connections itself, set \
             SSL_CERT_FILE to its certificates"
        ),
        other => format!("no answer ({other}): is this machine connected, or does it need a proxy (HTTPS_PROXY)?"),
    };
    let wrong_address = matches!(error, ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl);
    let error = Error::Network { url: url.into(), reason };
    if wrong_address { Failure::Final(error) } else { Failure::Again(error, None) }
}

/// The proxy that the environment names for this scheme, by the rules of curl and Python.
fn proxy_for(url: &str) -> Result<Option<Proxy>> {
    let names: &[&str] = if url.starts_with("https:") {
        &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    } else {
        &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
    };
    let set = |name: &&'static str| Some((*name, env::var(name).ok().filter(|value| !value.is_empty())?));
    let Some((variable, address)) = names.iter().find_map(set) else { return Ok(None) };
    let exceptions = env::var("no_proxy").or_else(|_| env::var("NO_PROXY")).unwrap_or_default();
    if is_exception(&Origin::of(url)?.host, &exceptions) {
        return Ok(None);
    }
    let wrong =
        |_| Error::Setting { variable, reason: "it is not a proxy's address, such as http://proxy:3128".into() };
    Ok(Some(Proxy::new(&address).map_err(wrong)?))
}

/// Whether `no_proxy` covers the host. It lists hosts and domains, separated by commas; `*` covers all.
fn is_exception(host: &str, exceptions: &str) -> bool {
    exceptions.split(',').map(|entry| entry.trim().trim_start_matches("*.").trim_start_matches('.')).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let domain = || host.strip_suffix(&entry).is_some_and(|rest| rest.ends_with('.'));
        entry == "*" || !entry.is_empty() && (host == entry || domain())
    })
}

/// Mozilla's root certificates, or those in a file that the environment names.
fn root_certs() -> Result<RootCerts> {
    const VARIABLES: [&str; 3] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
    let named = |variable| env::var_os(variable).filter(|path| !path.is_empty()).map(|path| (variable, path));
    let Some((variable, path)) = VARIABLES.into_iter().find_map(named) else { return Ok(RootCerts::WebPki) };
    let shown = path.to_string_lossy().into_owned();
    let wrong = |reason: String| Error::Setting { variable, reason };
    let mut pem = vec![];
    let read = plain::open(path.as_ref()).and_then(|file| file.take(MAX_PEM_BYTES + 1).read_to_end(&mut pem));
    read.map_err(|error| wrong(format!("cannot read `{shown}`: {error}")))?;
    if pem.len() as u64 > MAX_PEM_BYTES {
        return Err(wrong(format!(
            "`{shown}` has more than {} MiB, which no list of certificates has",
            MAX_PEM_BYTES >> 20
        )));
    }
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| if let Ok(PemItem::Certificate(certificate)) = item { Some(certificate) } else { None })
        .collect();
    if certificates.is_empty() {
        return Err(wrong(format!("`{shown}` holds no certificate")));
    }
    Ok(certificates.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| Origin::of(a).unwrap() == Origin::of(b).unwrap();
        assert!(same("https://hub.co/a", "https://HUB.co:443/b?c"));
        for other in ["http://hub.co", "https://hub.co:444", "https://hub.co.evil.org", "https://cdn.hub.co"] {
            assert!(!same("https://hub.co", other), "{other}");
        }
        for wrong in ["hub.co", "file:///etc/passwd", "ftp://hub.co", "https://", ""] {
            assert!(Origin::of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_are_joined_as_browsers_do() {
        for (location, expected) in [
            ("https://cdn.co/x", "https://cdn.co/x"),
            ("//cdn.co/x", "https://cdn.co/x"),
            ("/x?y", "https://hub.co:8/x?y"),
            ("/x?u=https://a.b", "https://hub.co:8/x?u=https://a.b"),
            ("x", "https://hub.co:8/a/x"),
        ] {
            assert_eq!(join("https://hub.co:8/a/b?c", location).as_deref(), Some(expected));
        }
        assert_eq!(join("https://hub.co/a", "file:///etc/passwd"), None);
    }

    #[test]
    fn exceptions_from_the_proxy_are_hosts_and_domains() {
        for (host, exceptions, is) in [
            ("localhost", "localhost,127.0.0.1", true),
            ("hub.corp.example", ".corp.example", true),
            ("hub.corp.example", "*.corp.example", true),
            ("hub.corp.example", "corp.example", true),
            ("notcorp.example", "corp.example", false),
            ("hub.co", "", false),
            ("hub.co", " * ", true),
        ] {
            assert_eq!(is_exception(host, exceptions), is, "{host} {exceptions}");
        }
    }
}
