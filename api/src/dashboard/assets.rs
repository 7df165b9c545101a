//! The files that pages load: styles, scripts and two libraries.
//!
//! They are part of the program. Their URLs contain a hash of the content, so that browsers keep
//! them for as long as they do not change.

use std::io::Write;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use session_pipeline_host::sandbox::sha256_hex;

/// A file that pages load.
pub(super) struct Asset {
    /// The file name in URLs, which contains the hash.
    pub(super) name: String,
    content_type: &'static str,
    etag: String,
    bytes: &'static [u8],
    compressed: Option<Bytes>,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The styles of all pages.
pub(super) static APP_STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("app", "css", STYLE, include_bytes!("../../assets/app.css")));
/// The styles of transcripts.
pub(super) static TRANSCRIPT_STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let bytes = include_bytes!("../../assets/transcript.css");
    Asset::new("transcript", "css", STYLE, bytes)
});
/// The script of all pages.
pub(super) static APP_SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("app", "js", SCRIPT, include_bytes!("../../assets/app.js")));
/// htmx, for parts of pages that change.
pub(super) static HTMX: LazyLock<Asset> = LazyLock::new(|| {
    let bytes = include_bytes!("../../assets/vendor/htmx.js");
    Asset::new("htmx", "js", SCRIPT, bytes)
});
/// Chart.js, for pages with charts.
pub(super) static CHART: LazyLock<Asset> = LazyLock::new(|| {
    let bytes = include_bytes!("../../assets/vendor/chart.js");
    Asset::new("chart", "js", SCRIPT, bytes)
});

/// The icon of the pages.
pub(super) static ICON: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "icon",
        "svg",
        "image/svg+xml",
        include_bytes!("../../assets/icon.svg"),
    )
});

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, bytes: &'static [u8]) -> Self {
        let digest = sha256_hex(bytes);
        let short = digest.get(..16).unwrap_or(&digest);
        Self {
            name: format!("{stem}-{short}.{extension}"),
            content_type,
            etag: format!("\"{short}\""),
            bytes,
            compressed: gzip(bytes).ok().map(Bytes::from),
        }
    }

    /// The URL.
    pub(super) fn url(&self) -> String {
        format!("/assets/{}", self.name)
    }

    fn response(&self, headers: &HeaderMap) -> Response {
        let accepts_gzip = headers
            .get(header::ACCEPT_ENCODING)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| {
                value.split(',').any(|coding| {
                    coding.trim() == "gzip"
                        || coding.trim().starts_with("gzip;") && !coding.contains("q=0")
                })
            });
        let compressed = self.compressed.as_ref().filter(|_| accepts_gzip);
        // Representations with different encodings have different strong tags.
        let etag = match compressed {
            Some(_) => format!("{}-gzip\"", self.etag.trim_end_matches('"')),
            None => self.etag.clone(),
        };
        let is_known = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|tag| tag.trim() == etag));
        let mut response = match (is_known, compressed) {
            (true, _) => StatusCode::NOT_MODIFIED.into_response(),
            (false, Some(bytes)) => {
                let mut response = bytes.clone().into_response();
                let gzip = HeaderValue::from_static("gzip");
                response
                    .headers_mut()
                    .insert(header::CONTENT_ENCODING, gzip);
                response
            }
            (false, None) => self.bytes.into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.content_type),
        );
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        );
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            headers.insert(header::ETAG, etag);
        }
        response
    }
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Returns an asset. Assets need no sign-in: the sign-in page loads them, and they are public.
pub(super) async fn get(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let all = [
        &APP_STYLE,
        &TRANSCRIPT_STYLE,
        &APP_SCRIPT,
        &HTMX,
        &CHART,
        &ICON,
    ];
    match all.into_iter().find(|asset| asset.name == name) {
        Some(asset) => asset.response(&headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
