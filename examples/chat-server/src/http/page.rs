//! The page: its files, part of the program.

use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// What the page may load: itself, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

macro_rules! files {
    ($($path:literal)*) => {
        /// Every file of `web/`, by its path.
        const FILES: &[(&str, &[u8])] = &[$(($path, include_bytes!(concat!("../../web/", $path))),)*];
    };
}

files! {
    "api.js" "dom.js" "format.js" "health.js" "icon.svg" "index.html" "main.js" "socket.js" "store.js" "style.css"
    "views/chart.js" "views/composer.js" "views/health.js" "views/list.js" "views/members.js" "views/message.js" "views/panel.js"
    "views/parts.js" "views/room.js" "views/search.js" "views/sign-in.js" "views/thread.js"
}

/// `GET /`
pub(super) async fn index() -> Response {
    answer("index.html")
}

/// `GET /{path}`
pub(super) async fn file(Path(path): Path<String>) -> Response {
    answer(&path)
}

fn answer(path: &str) -> Response {
    let Some((path, bytes)) = FILES.iter().find(|(known, _)| *known == path) else {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    };
    let headers: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type(path))),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, *bytes).into_response()
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    fn below(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn every_file_of_the_folder_is_served_and_has_a_type() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let there: BTreeSet<String> = below(&root)
            .iter()
            .map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned())
            .collect();
        let served: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(there, served, "keep the list in this file in step with web/");
        assert!(served.iter().all(|path| media_type(path) != "application/octet-stream"));
    }
}
