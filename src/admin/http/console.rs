//! The console: static files that are a part of the program, under `/console/`.
//!
//! They are nobody's secret; what they show, they ask for with a session. The policy that goes with them lets a browser load
//! nothing that is not of this relay.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};
use include_dir::{Dir, include_dir};
use sha2::{Digest as _, Sha256};

use super::problem::Problem;

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/console");

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; frame-ancestors 'none'; form-action 'self'";

struct File {
    octets: &'static [u8],
    kind: &'static str,
    tag: String,
}

pub(super) fn routes(router: Router) -> Router {
    let mut found = BTreeMap::new();
    gather(&FILES, &mut found);
    let files = Arc::new(found);
    let there = || async { (StatusCode::FOUND, [(header::LOCATION, "/console/")]) };
    let index = files.clone();
    router
        .route("/", get(there))
        .route("/console", get(there))
        .route("/console/", get(move |headers: HeaderMap| async move { of(&index, "index.html", &headers) }))
        .route(
            "/console/{*path}",
            get(move |Path(path): Path<String>, headers: HeaderMap| async move { of(&files, &path, &headers) }),
        )
}

fn gather(dir: &'static Dir<'_>, into: &mut BTreeMap<String, File>) {
    for file in dir.files() {
        let path = file.path().to_string_lossy().into_owned();
        let Some(kind) = kind(&path) else { continue };
        let digest = Sha256::digest(file.contents());
        let tag = digest.iter().take(12).map(|octet| format!("{octet:02x}")).collect::<String>();
        into.insert(path, File { octets: file.contents(), kind, tag: format!("\"{tag}\"") });
    }
    dir.dirs().for_each(|below| gather(below, into));
}

/// What is not known is not served: tests and notes may lie beside the files.
fn kind(path: &str) -> Option<&'static str> {
    Some(match path.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "json" | "webmanifest" => "application/json",
        "woff2" => "font/woff2",
        _ => return None,
    })
}

fn of(files: &BTreeMap<String, File>, path: &str, headers: &HeaderMap) -> Response {
    let Some(file) = files.get(path) else {
        return Problem::new(StatusCode::NOT_FOUND, "the console has no such file").into_response();
    };
    let fields = [
        (header::CONTENT_TYPE, file.kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, &*file.tag),
    ];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == file.tag) {
        return (StatusCode::NOT_MODIFIED, fields).into_response();
    }
    (fields, file.octets).into_response()
}
