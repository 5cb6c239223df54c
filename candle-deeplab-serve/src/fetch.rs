//! Images that a request names by their addresses.
//!
//! A server that fetches what strangers name can be made to read what only it can reach. So addresses are refused unless the
//! operator lists their hosts; whatever such a name resolves to must be a public address, and it is this address that is
//! connected to; redirects are not followed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use axum::http::{StatusCode, Uri};
use ureq::Agent;
use ureq::config::Config;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::app::{App, blocking};
use crate::body::{self, Received};
use crate::problem::{Problem, Result};

/// The image at an address.
///
/// # Errors
/// Addresses are off or this one is not allowed, its server does not answer as it should, or what it answers is too large.
pub(crate) async fn fetch(app: &App, url: String, deadline: Instant) -> Result<Received> {
    check(&url, &app.settings.url_hosts)?;
    let limit = app.settings.max_bytes;
    let received = Received::none(&app.body_memory);
    blocking(&app.fetchers, deadline, move || download(&url, received, limit, deadline, Public)).await
}

/// Checks that an address is one of an allowed host.
fn check(url: &str, hosts: &[String]) -> Result<()> {
    let forbidden = |message: &str| Problem::new(StatusCode::FORBIDDEN, message);
    if hosts.is_empty() {
        return Err(forbidden("this server does not fetch addresses: send the image itself"));
    }
    let uri: Uri = url.parse().map_err(|_| Problem::bad("the `url` cannot be read"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(forbidden("only `http` and `https` addresses are fetched"));
    }
    // People would read `http://allowed@other/` as the address of `allowed`.
    let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    let host = uri.host().unwrap_or_default().trim_end_matches('.');
    if has_user || !hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
        return Err(forbidden("the host of this `url` is none of those that this server fetches from"));
    }
    Ok(())
}

fn download(
    url: &str,
    mut received: Received,
    limit: usize,
    deadline: Instant,
    resolver: impl Resolver,
) -> Result<Received> {
    let bad = |message: String| Problem::new(StatusCode::BAD_GATEWAY, message);
    let left = deadline.saturating_duration_since(Instant::now());
    let config = Config::builder()
        .timeout_global(Some(left))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        // A proxy would resolve names by itself.
        .proxy(None)
        .build();
    let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
    let response = agent.get(url).call().map_err(|error| match error {
        ureq::Error::Timeout(_) => Problem::late(),
        error => bad(format!("the image could not be fetched: {error}")),
    })?;
    if !response.status().is_success() {
        let status = response.status().as_u16();
        return Err(bad(format!("the image's server answered with status {status}; redirects are not followed")));
    }
    let read = body::read_to_end(&mut response.into_body().into_reader(), &mut received, limit);
    read.map_err(|error| match error.kind() {
        std::io::ErrorKind::TimedOut => Problem::late(),
        _ => bad(format!("the image could not be fetched: {error}")),
    })??;
    Ok(received)
}

/// Resolves names to public addresses only.
#[derive(Debug)]
struct Public;

impl Resolver for Public {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> std::result::Result<ResolvedSocketAddrs, ureq::Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        let mut public = self.empty();
        found.iter().filter(|address| is_public(address.ip())).for_each(|address| public.push(*address));
        if public.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(public) }
    }
}

/// Whether an address is on the public internet: no loopback, private, link-local, shared, multicast, documentation or
/// reserved range (IANA's special-purpose registries), and none of these within IPv6.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        // Shared by carriers, protocol assignments, 6to4 relays, benchmarks.
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a == 198 && (18..20).contains(&b));
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Only 2000::/3 is handed out; of it, Teredo, documentation, ORCHID and 6to4 are special, and hide other addresses.
    let is_global_unicast = (0x2000..0x4000).contains(&a);
    let is_special = (a == 0x2001 && (b < 0x200 || b == 0xdb8)) || a == 0x2002 || a == 0x3fff;
    is_global_unicast && !is_special
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn addresses_that_only_this_machine_reaches_are_not_public() {
        for address in [
            "127.0.0.1",
            "127.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.0.8",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::1"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn only_listed_hosts_are_fetched_from() {
        let hosts = ["images.example.org".to_owned()];
        assert!(check("https://images.example.org/a.jpg", &hosts).is_ok());
        assert!(check("http://IMAGES.example.org:8080/a.jpg", &hosts).is_ok());
        for url in [
            "file:///etc/passwd",
            "ftp://images.example.org/a.jpg",
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::ffff:127.0.0.1]/",
            "http://localhost/",
            "http://images.example.org@127.0.0.1/",
            "http://images.example.org.evil.example/",
            "http://evil.example/images.example.org",
            "images.example.org",
            "",
        ] {
            assert!(check(url, &hosts).is_err(), "{url}");
        }
        assert_eq!(check("https://images.example.org/a.jpg", &[]).unwrap_err().status, StatusCode::FORBIDDEN);
    }

    fn download(url: &str, limit: usize, resolver: impl Resolver) -> super::Result<Received> {
        let memory = Arc::new(Semaphore::new(1 << 20));
        super::download(url, Received::none(&memory), limit, Instant::now() + Duration::from_secs(10), resolver)
    }

    /// Even of an allowed host, an address of this machine is not connected to: `localhost` stands for any name that
    /// resolves to it.
    #[test]
    fn names_that_resolve_to_this_machine_are_refused() {
        for host in ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
            let error = download(&format!("http://{host}:9/"), 1 << 20, Public).unwrap_err();
            assert_eq!(error.status, StatusCode::BAD_GATEWAY, "{host}");
        }
    }

    /// Serves one answer, and counts who asked.
    fn serve(answer: &'static str) -> (String, thread::JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            stream.write_all(answer.as_bytes()).unwrap();
            drop(stream);
            listener.set_nonblocking(true).unwrap();
            thread::sleep(Duration::from_millis(50));
            1 + listener.incoming().take_while(Result::is_ok).count()
        });
        (format!("http://{address}/"), served)
    }

    use std::result::Result;

    #[test]
    fn redirects_are_not_followed_and_long_answers_are_cut_off() {
        let (url, served) =
            serve("HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let error = download(&url, 1 << 20, DefaultResolver::default()).unwrap_err();
        assert!(error.message.contains("302"), "{error:?}");
        assert_eq!(served.join().unwrap(), 1);
        let (url, served) = serve("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nabcdef");
        let error = download(&url, 5, DefaultResolver::default()).unwrap_err();
        assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE);
        served.join().unwrap();
        let (url, served) = serve("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nabcdef");
        assert_eq!(download(&url, 6, DefaultResolver::default()).unwrap().bytes, b"abcdef");
        served.join().unwrap();
    }
}
