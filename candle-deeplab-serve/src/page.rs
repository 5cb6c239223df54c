//! The page for people. Its files are part of the program.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// What the page may load: what this server sends, and nothing else.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                                 media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                                 frame-ancestors 'none'";

/// The files of the page.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../page/", $name)))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "api.js",
    "camera.js",
    "docs.js",
    "downloads.js",
    "intake.js",
    "keydialog.js",
    "list.js",
    "main.js",
    "paint.js",
    "photo.js",
    "png.js",
    "problem.js",
    "result.js",
    "stage.js",
    "style.css",
    "words.js",
];

pub(crate) async fn index() -> Response {
    file("index.html", include_str!("../page/index.html"))
}

/// The page that shows the interface.
pub(crate) async fn docs() -> Response {
    file("docs.html", include_str!("../page/docs.html"))
}

pub(crate) async fn asset(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, _)| *known == name) {
        Some((name, content)) => file(name, content),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn file(name: &str, content: &'static str) -> Response {
    let content_type = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => "text/javascript; charset=utf-8",
    };
    // Asked for anew each time: the program may have been replaced.
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")], content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_served = name.ends_with(".html") || FILES.iter().any(|(known, _)| *known == name);
            assert!(is_served, "{name}");
        }
    }
}
