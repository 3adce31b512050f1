//! Answers that are kept: what has not changed is not sent again, and what is sent was compressed once.

use std::{io::Write, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, AcceptEncoding, ContentEncoding, Encoding, EntityTag, Header, IfNoneMatch},
    },
    web,
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::problem::{ApiError, Code};

/// Bodies below this size are sent as they are.
const WORTH_PACKING: usize = 1_024;

/// Bodies of this size are not compressed on a thread that answers others.
const TAKES_LONG: usize = 64 * 1_024;

/// How a body may be compressed, the best for us first. Levels are those that cost little: a list of seats changes several
/// times a second.
#[derive(Debug, Clone, Copy)]
enum Packing {
    Zstd,
    Brotli,
    Gzip,
}

impl Packing {
    const ALL: [Packing; 3] = [Packing::Zstd, Packing::Brotli, Packing::Gzip];

    fn encoding(self) -> ContentEncoding {
        match self {
            Self::Zstd => ContentEncoding::Zstd,
            Self::Brotli => ContentEncoding::Brotli,
            Self::Gzip => ContentEncoding::Gzip,
        }
    }

    /// The first that the client takes.
    fn wanted_by(request: &HttpRequest) -> Option<Self> {
        // Whoever says nothing gets the body as it is.
        let accepted = AcceptEncoding::parse(request).ok().filter(|accepted| !accepted.0.is_empty())?;
        Self::ALL.into_iter().find(|packing| {
            let encoding = Encoding::Known(packing.encoding());
            accepted.negotiate([&encoding].into_iter()).as_ref() == Some(&encoding)
        })
    }

    fn pack(self, body: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Zstd => zstd::bulk::compress(body, 1),
            Self::Brotli => {
                let parameters = brotli::enc::BrotliEncoderParams { quality: 3, ..Default::default() };
                let mut packed = Vec::new();
                brotli::BrotliCompress(&mut &*body, &mut packed, &parameters)?;
                Ok(packed)
            }
            Self::Gzip => {
                let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
                packed.write_all(body)?;
                packed.finish()
            }
        }
    }
}

/// A JSON body, its tag, and its compressed forms once somebody has asked for them. Clones share them.
#[derive(Debug, Clone)]
pub struct Rendered {
    body: Bytes,
    etag: EntityTag,
    packed: Arc<[OnceCell<Bytes>; Packing::ALL.len()]>,
}

impl Rendered {
    /// The tag is a hash of the body, so every instance gives the same body the same tag. It is a weak one: compressed or not,
    /// it is the same answer.
    pub fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let digest = Sha256::digest(&body);
        let etag = hex::encode(digest.first_chunk::<12>().copied().unwrap_or_default());
        Self { body, etag: EntityTag::new_weak(etag), packed: Arc::default() }
    }

    /// A value as JSON.
    pub fn json(value: &impl Serialize) -> Result<Self, ApiError> {
        serde_json::to_vec(value).map(Self::new).map_err(|error| failed(error.into()))
    }

    /// 304 when the client has this body already, else 200 with it. For bodies that are made for one answer.
    pub fn respond(&self, request: &HttpRequest, cache_control: &'static str) -> HttpResponse {
        match self.head(request, cache_control) {
            (mut unchanged, true) => unchanged.finish(),
            (mut response, false) => response.body(self.body.clone()),
        }
    }

    /// The same, compressed when the client takes that. For bodies that are kept.
    pub async fn respond_packed(
        &self,
        request: &HttpRequest,
        cache_control: &'static str,
    ) -> Result<HttpResponse, ApiError> {
        let (mut response, unchanged) = self.head(request, cache_control);
        response.insert_header((header::VARY, "accept-encoding"));
        if unchanged {
            return Ok(response.finish());
        }
        let is_worth_it = self.body.len() >= WORTH_PACKING;
        match is_worth_it.then(|| Packing::wanted_by(request)).flatten() {
            None => Ok(response.body(self.body.clone())),
            Some(packing) => {
                response.insert_header(packing.encoding());
                Ok(response.body(self.packed(packing).await?))
            }
        }
    }

    fn head(&self, request: &HttpRequest, cache_control: &'static str) -> (actix_web::HttpResponseBuilder, bool) {
        let unchanged = match IfNoneMatch::parse(request) {
            Ok(IfNoneMatch::Any) => true,
            Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|tag| tag.weak_eq(&self.etag)),
            Err(_) => false,
        };
        let mut response = HttpResponse::build(if unchanged { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
        response.insert_header((header::ETAG, self.etag.to_string()));
        response.insert_header((header::CACHE_CONTROL, cache_control));
        if !unchanged {
            response.content_type("application/json");
        }
        (response, unchanged)
    }

    /// The body in this form, made once however many ask.
    async fn packed(&self, packing: Packing) -> Result<Bytes, ApiError> {
        let Some(cell) = self.packed.get(packing as usize) else { return Err(ApiError::new(Code::Internal)) };
        let packed = cell.get_or_try_init(|| async {
            let body = self.body.clone();
            let made = if body.len() < TAKES_LONG {
                packing.pack(&body)
            } else {
                web::block(move || packing.pack(&body)).await.map_err(|error| failed(error.into()))?
            };
            made.map(Bytes::from).map_err(|error| failed(error.into()))
        });
        packed.await.cloned()
    }
}

fn failed(cause: onsale_application::error::Cause) -> ApiError {
    ApiError { cause: Some(cause), ..ApiError::new(Code::Internal) }
}

/// The tag of a thing that operators edit: its version.
pub fn version_etag(version: i32) -> (header::HeaderName, String) {
    (header::ETAG, EntityTag::new_strong(version.to_string()).to_string())
}
