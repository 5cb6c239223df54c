//! Who may use the server.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::problem::Problem;

/// Paths that need no key: whether the server runs, and the page, which asks for the key.
const OPEN: [&str; 5] = ["/", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"];

/// Answers 401 to requests without the key, if there is one.
pub(crate) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_open = OPEN.contains(&path) || path.starts_with("/assets/");
    if is_foreign(request.headers(), &app.settings.cors) {
        let message = "scripts of other web sites may not use this server: its operator can allow one with `--cors`";
        return Problem::new(StatusCode::FORBIDDEN, message).into_response();
    }
    match &app.settings.api_key {
        Some(key) if !is_open && !has_key(request.headers(), key) => {
            let message = "this server wants a key: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`";
            let mut response = Problem::new(StatusCode::UNAUTHORIZED, message).into_response();
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        _ => next.run(request).await,
    }
}

/// Whether a browser says that the request comes from another web site, which is not among the allowed ones. Some requests,
/// such as a form's, are sent without asking the server first, and need no answer to do harm.
fn is_foreign(headers: &HeaderMap, allowed: &[String]) -> bool {
    let is_cross_site = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site");
    let is_navigation = headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    is_cross_site
        && match headers.get(header::ORIGIN) {
            Some(origin) => !allowed.iter().any(|site| site == "*" || origin == site.as_str()),
            // A link to the page is followed; a form that is sent has an origin.
            None => !is_navigation,
        }
}

/// Whether the headers have the key: as a bearer's token, as the password of any user (which is all that some annotation
/// tools can send), or alone. However much of a key is right, the answer takes the same time.
fn has_key(headers: &HeaderMap, key: &str) -> bool {
    let is_key = |given: &[u8]| bool::from(given.ct_eq(key.as_bytes()));
    if let Some(given) = headers.get("x-api-key") {
        return is_key(given.as_bytes());
    }
    let Some((scheme, given)) = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
    else {
        return false;
    };
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => is_key(given.trim().as_bytes()),
        "basic" => {
            let user = STANDARD.decode(given.trim()).unwrap_or_default();
            user.iter().position(|byte| *byte == b':').is_some_and(|colon| is_key(&user[colon + 1..]))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_sites_scripts_are_told_by_what_browsers_say() {
        let is_foreign = |pairs: &[(&'static str, &str)], allowed: &[String]| {
            let headers =
                pairs.iter().map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()));
            is_foreign(&HeaderMap::from_iter(headers), allowed)
        };
        let evil = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")];
        assert!(is_foreign(&evil, &[]) && is_foreign(&evil, &["https://good.example".into()]));
        assert!(is_foreign(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), evil[1]], &[]));
        assert!(!is_foreign(&evil, &["https://evil.example".into()]) && !is_foreign(&evil, &["*".into()]));
        assert!(!is_foreign(&[("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:8080")], &[]));
        assert!(!is_foreign(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], &[]));
        assert!(!is_foreign(&[], &[]));
    }

    #[test]
    fn the_key_comes_in_three_ways() {
        let with = |name: &'static str, value: &str| {
            has_key(&HeaderMap::from_iter([(header::HeaderName::from_static(name), value.parse().unwrap())]), "secret")
        };
        assert!(with("authorization", "Bearer secret") && with("authorization", "bearer secret"));
        assert!(with("x-api-key", "secret"));
        assert!(with("authorization", &format!("Basic {}", STANDARD.encode("anybody:secret"))));
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer", "secret", "Basic secret", "Digest secret", ""] {
            assert!(!with("authorization", wrong), "{wrong}");
        }
        assert!(!with("x-api-key", "") && !has_key(&HeaderMap::new(), "secret"));
    }
}
