//! `ETag` and 304: what has not changed is not sent again.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
};
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::problem::{ApiError, Code};

/// A JSON body and its tag.
#[derive(Debug, Clone)]
pub struct Rendered {
    body: Bytes,
    etag: String,
}

impl Rendered {
    /// The tag is a hash of the body, so every instance gives the same body the same tag.
    pub fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let digest = Sha256::digest(&body);
        let etag = digest.iter().take(12).fold(String::from("\""), |text, byte| format!("{text}{byte:02x}")) + "\"";
        Self { body, etag }
    }

    /// A value as JSON.
    pub fn json(value: &impl Serialize) -> Result<Self, ApiError> {
        serde_json::to_vec(value)
            .map(Self::new)
            .map_err(|error| ApiError { cause: Some(error.into()), ..ApiError::new(Code::Internal) })
    }

    /// 304 when the client has this body already, else 200 with it.
    pub fn respond(&self, request: &HttpRequest, cache_control: &'static str) -> HttpResponse {
        let unchanged = request.headers().get_all(header::IF_NONE_MATCH).any(|value| {
            value.to_str().is_ok_and(|value| {
                value.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == self.etag)
            })
        });
        let status = if unchanged { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        let mut response = HttpResponse::build(status);
        response.insert_header((header::ETAG, self.etag.as_str()));
        response.insert_header((header::CACHE_CONTROL, cache_control));
        if unchanged { response.finish() } else { response.content_type("application/json").body(self.body.clone()) }
    }
}

/// The tag of a thing that operators edit: its version.
pub fn version_etag(version: i32) -> (header::HeaderName, String) {
    (header::ETAG, format!("\"{version}\""))
}
