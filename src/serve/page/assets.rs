//! The files of the page, which are part of the program.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::failure::explain;

/// A file under a name that has a hash of its content, so that browsers may keep it for good.
pub(super) struct Asset {
    name: String,
    content_type: &'static str,
    content: &'static str,
}

pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("style", "css", "text/css", include_str!("assets/style.css")));
pub(super) static THEME: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("theme", "js", "text/javascript", include_str!("assets/theme.js")));
pub(super) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("page", "js", "text/javascript", include_str!("assets/page.js")));

pub(super) static FIGURES: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("figures", "css", "text/css", include_str!("assets/figures.css")));
pub(super) static MAP_STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("map", "css", "text/css", include_str!("assets/map.css")));
pub(super) static MAP: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("map", "js", "text/javascript", include_str!("assets/map.js")));
pub(super) static HEALTH: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("health", "css", "text/css", include_str!("assets/health.css")));
pub(super) static TRACE_STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("trace", "css", "text/css", include_str!("assets/trace.css")));
pub(super) static TRACE_SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("trace", "js", "text/javascript", include_str!("assets/trace.js")));
pub(super) static SEARCH_STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("search", "css", "text/css", include_str!("assets/search.css")));
pub(super) static SEARCH_SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("search", "js", "text/javascript", include_str!("assets/search.js")));

/// All of them: what is not listed here is not found.
static ALL: [&LazyLock<Asset>; 11] = [
    &STYLE,
    &THEME,
    &SCRIPT,
    &FIGURES,
    &MAP_STYLE,
    &MAP,
    &HEALTH,
    &TRACE_STYLE,
    &TRACE_SCRIPT,
    &SEARCH_STYLE,
    &SEARCH_SCRIPT,
];

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, content: &'static str) -> Self {
        let hash = blake3::hash(content.as_bytes()).to_hex();
        Asset { name: format!("{stem}-{}.{extension}", &hash[..12]), content_type, content }
    }

    pub(super) fn path(&self) -> String {
        format!("/assets/{}", self.name)
    }

    pub(super) fn is_style(&self) -> bool {
        self.content_type == "text/css"
    }
}

pub(super) async fn file(Path(name): Path<String>) -> Response {
    let Some(asset) = ALL.iter().map(|asset| &***asset).find(|asset| asset.name == name) else {
        return explain(StatusCode::NOT_FOUND, "There is no such file.");
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    (headers, asset.content).into_response()
}
