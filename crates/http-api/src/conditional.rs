//! Answers that are kept: what has not changed is not sent again, and what is sent was compressed once.

use std::{io::Write, sync::Arc, time::Duration};

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
use moka::future::Cache;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::problem::{ApiError, Code};

/// Bodies below this size are sent as they are.
const WORTH_PACKING: usize = 1_024;

/// Bodies of this size are not compressed on a thread that answers others.
pub(crate) const TAKES_LONG: usize = 64 * 1_024;

/// Bytes of bodies that are kept for their compressed forms, those included.
const SHARED_BYTES: u64 = 16 * 1_024 * 1_024;
/// How long a body is kept that nobody asks for.
const SHARED_IDLE: Duration = Duration::from_secs(10);

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
        let accepted = accepted_by(request)?;
        Self::ALL.into_iter().find(|packing| packing.is_in(&accepted))
    }

    fn is_in(self, accepted: &AcceptEncoding) -> bool {
        let encoding = Encoding::Known(self.encoding());
        accepted.negotiate([&encoding].into_iter()).as_ref() == Some(&encoding)
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

/// What the client takes; whoever says nothing gets bodies as they are.
fn accepted_by(request: &HttpRequest) -> Option<AcceptEncoding> {
    AcceptEncoding::parse(request).ok().filter(|accepted| !accepted.0.is_empty())
}

/// Whether the client takes gzip, whatever else it takes.
pub(crate) fn takes_gzip(request: &HttpRequest) -> bool {
    accepted_by(request).is_some_and(|accepted| Packing::Gzip.is_in(&accepted))
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
        match self.packing_for(request) {
            None => Ok(response.body(self.body.clone())),
            Some(packing) => {
                response.insert_header(packing.encoding());
                Ok(response.body(self.packed(packing).await?))
            }
        }
    }

    fn packing_for(&self, request: &HttpRequest) -> Option<Packing> {
        let is_worth_it = self.body.len() >= WORTH_PACKING;
        is_worth_it.then(|| Packing::wanted_by(request)).flatten()
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

/// Bodies that are made anew for each request and are the same for many, each with its compressed forms. The body itself is the
/// key, so nothing is ever sent that is not as it is now.
pub struct Shared(Cache<Bytes, Rendered>);

impl Default for Shared {
    fn default() -> Self {
        // The compressed forms together are shorter than twice the body.
        let size = |body: &Bytes, _: &Rendered| u32::try_from(256 + 3 * body.len()).unwrap_or(u32::MAX);
        Self(Cache::builder().weigher(size).max_capacity(SHARED_BYTES).time_to_idle(SHARED_IDLE).build())
    }
}

impl Shared {
    /// Answers with `made`, compressed when the client takes that, once for all requests with the same body.
    pub(crate) async fn respond(
        &self,
        made: Rendered,
        request: &HttpRequest,
        cache_control: &'static str,
    ) -> Result<HttpResponse, ApiError> {
        let shared = match made.packing_for(request) {
            None => made,
            Some(_) => self.0.get_with(made.body.clone(), async move { made }).await,
        };
        shared.respond_packed(request, cache_control).await
    }
}

fn failed(cause: onsale_application::error::Cause) -> ApiError {
    ApiError { cause: Some(cause), ..ApiError::new(Code::Internal) }
}

/// The tag of a thing that operators edit: its version.
pub fn version_etag(version: i32) -> (header::HeaderName, String) {
    (header::ETAG, EntityTag::new_strong(version.to_string()).to_string())
}
