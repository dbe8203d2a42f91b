//! The three static files, under names made from their content: a browser keeps them for ever and never a wrong one.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

/// One file.
pub struct Asset {
    /// `/static/console.0123456789abcdef.css`
    pub url: String,
    kind: &'static str,
    bytes: &'static [u8],
}

impl Asset {
    fn new(stem: &str, extension: &str, kind: &'static str, bytes: &'static [u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let hash: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
        Self { url: format!("/static/{stem}.{hash}.{extension}"), kind, bytes }
    }
}

/// The style of every page.
pub static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("console", "css", "text/css; charset=utf-8", include_bytes!("static/console.css")));
/// htmx.
pub static HTMX: LazyLock<Asset> = LazyLock::new(|| script("htmx", include_bytes!("static/htmx.min.js")));
/// Its extension for event streams.
pub static HTMX_SSE: LazyLock<Asset> = LazyLock::new(|| script("htmx-sse", include_bytes!("static/htmx-sse.min.js")));

fn script(stem: &str, bytes: &'static [u8]) -> Asset {
    Asset::new(stem, "js", "text/javascript; charset=utf-8", bytes)
}

/// One file by its name.
pub async fn serve(Path(file): Path<String>) -> Response {
    let found = [&*STYLE, &*HTMX, &*HTMX_SSE].into_iter().find(|asset| asset.url == format!("/static/{file}"));
    let Some(asset) = found else { return StatusCode::NOT_FOUND.into_response() };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    (headers, asset.bytes).into_response()
}
