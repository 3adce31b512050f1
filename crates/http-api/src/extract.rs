//! What requests carry, parsed at the edge and trusted inside.

use std::{
    future::{Ready, ready},
    time::Duration,
};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{self, HeaderName},
    web,
};
use futures_util::{StreamExt, future::LocalBoxFuture};
use onsale_application::{accounts::Identity, idempotency::RequestKey};
use onsale_domain::{account::Role, ids::UserId};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, sleep_until};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    explain,
    problem::{ApiError, Code},
    state::ApiState,
};

/// The shared state.
pub type State = web::Data<ApiState>;

fn state(request: &HttpRequest) -> Result<&State, ApiError> {
    request.app_data::<State>().ok_or_else(|| ApiError::new(Code::Internal))
}

fn header<'a>(request: &'a HttpRequest, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// Whose access token the request shows, if it is genuine.
pub(crate) fn whose(request: &HttpRequest) -> Option<Identity> {
    let token = header(request, &header::AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())?;
    state(request).ok()?.facades.accounts.identify(token)
}

/// The same, of a user who does not ask too often.
pub(crate) fn identify(request: &HttpRequest) -> Result<Identity, ApiError> {
    let identity = whose(request).ok_or_else(|| ApiError::new(Code::Unauthenticated))?;
    state(request)?.check_user_rate(identity.user_id)?;
    Ok(identity)
}

/// A signed-in user of any role.
#[derive(Debug, Clone, Copy)]
pub struct SignedIn(pub UserId);

impl FromRequest for SignedIn {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identify(request).map(|identity| Self(identity.user_id)))
    }
}

/// A signed-in operator.
#[derive(Debug, Clone, Copy)]
pub struct Operator(pub UserId);

impl FromRequest for Operator {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identify(request).and_then(|identity| match identity.role {
            Role::Operator => Ok(Self(identity.user_id)),
            Role::Fan => Err(ApiError::new(Code::Forbidden)),
        }))
    }
}

/// The `Queue-Token` header, if there is one. Whether it is any good is for the gate to say.
#[derive(Debug, Clone)]
pub struct QueueToken(pub Option<String>);

impl FromRequest for QueueToken {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let token = request.headers().get("queue-token").map(|value| value.to_str().unwrap_or("not text").to_owned());
        ready(Ok(Self(token)))
    }
}

/// The `Idempotency-Key` header, if there is one.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    key: Option<String>,
    method_and_path: String,
}

impl FromRequest for IdempotencyKey {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let method_and_path = format!("{} {}", request.method(), request.path());
        let key = match request.headers().get("idempotency-key") {
            None => None,
            Some(value) => match value.to_str() {
                Ok(text) if (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                    Some(text.to_owned())
                }
                _ => return ready(Err(ApiError::new(Code::IdempotencyKeyInvalid))),
            },
        };
        ready(Ok(Self { key, method_and_path }))
    }
}

impl IdempotencyKey {
    /// The key bound to this request.
    pub fn bound_to(self, body: &[u8]) -> Option<RequestKey> {
        let Self { key, method_and_path } = self;
        let request_hash =
            Sha256::new().chain_update(method_and_path).chain_update([0]).chain_update(body).finalize().into();
        key.map(|key| RequestKey { key, request_hash })
    }

    /// The key bound to this request, or a refusal when there is none.
    pub fn required(self, body: &[u8]) -> Result<RequestKey, ApiError> {
        self.bound_to(body).ok_or_else(|| ApiError::new(Code::IdempotencyKeyRequired))
    }
}

/// The version in `If-Match`.
#[derive(Debug, Clone, Copy)]
pub struct IfMatch(pub i32);

impl FromRequest for IfMatch {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(value) = request.headers().get(header::IF_MATCH) else {
            return ready(Err(ApiError::new(Code::IfMatchRequired)));
        };
        let version = value.to_str().ok().and_then(|text| text.trim().trim_matches('"').parse().ok());
        // A tag that no version ever had is simply another version: the first one is 1.
        ready(Ok(Self(version.unwrap_or(0))))
    }
}

/// An id in the path.
#[derive(Debug, Clone, Copy)]
pub struct Id(pub Uuid);

impl FromRequest for Id {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let parsed = request.match_info().get("id").and_then(|text| Uuid::try_parse(text).ok());
        // What is no id is the id of nothing.
        ready(parsed.map(Self).ok_or_else(|| ApiError::new(Code::NotFound)))
    }
}

/// The query string.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let parsed = web::Query::<T>::from_query(request.query_string());
        ready(match parsed {
            Ok(query) => Ok(Self(query.into_inner())),
            Err(error) => Err(ApiError::detail(Code::MalformedRequest, format!("query string: {error}"))),
        })
    }
}

/// A JSON body within the ordinary limit, and its bytes.
#[derive(Debug)]
pub struct Json<T> {
    /// The value.
    pub value: T,
    /// The bytes that it was read from.
    pub bytes: Vec<u8>,
}

/// A JSON body within the limit of bulk requests.
#[derive(Debug)]
pub struct BulkJson<T>(pub T);

impl<T: DeserializeOwned + ToSchema + 'static> FromRequest for Json<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let limit = state(request).map(|state| state.limits.body_bytes);
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let bytes = read_body(&request, payload, limit?).await?;
            Ok(Self { value: parse(&bytes)?, bytes })
        })
    }
}

impl<T: DeserializeOwned + ToSchema + 'static> FromRequest for BulkJson<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let limit = state(request).map(|state| state.limits.bulk_body_bytes);
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let bytes = read_body(&request, payload, limit?).await?;
            Ok(Self(parse(&bytes)?))
        })
    }
}

fn parse<T: DeserializeOwned + ToSchema>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| unreadable::<T>(bytes, &error.path().to_string(), error.inner()))?;
    deserializer.end().map_err(|error| unreadable::<T>(bytes, ".", &error))?;
    Ok(value)
}

/// Everything that keeps a body from being read as a `T`.
fn unreadable<T: ToSchema>(bytes: &[u8], path: &str, error: &serde_json::Error) -> ApiError {
    if !error.is_data() {
        let (line, column) = (error.line(), error.column());
        return ApiError::detail(
            Code::MalformedRequest,
            format!("the body is not one JSON value: line {line}, column {column}"),
        );
    }
    let mut faults = explain::faults::<T>(bytes);
    if faults.is_empty() {
        // As serde says it, without its place in the text.
        let words = error.to_string();
        let words = words.split(" at line ").next().unwrap_or_default();
        let at = if path == "." { String::new() } else { path.replace(['.', '['], "/").replace(']', "") };
        faults.add(at, words);
    }
    ApiError::faults(Code::MalformedRequest, &faults)
}

/// How long a body may still come once the server stops.
const BODY_AT_STOP: Duration = Duration::from_secs(2);

/// Reads a body within its size, its time and its least rate.
#[expect(clippy::cast_precision_loss, reason = "a body has fewer than 2^53 bytes")]
async fn read_body(request: &HttpRequest, mut payload: Payload, limit: usize) -> Result<Vec<u8>, ApiError> {
    let media_type = header(request, &header::CONTENT_TYPE).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::new(Code::UnsupportedMediaType));
    }
    let too_large = || ApiError::detail(Code::BodyTooLarge, format!("at most {limit} bytes are read"));
    let announced = header(request, &header::CONTENT_LENGTH).and_then(|text| text.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let state = state(request)?;
    let (limits, stopping) = (state.limits, state.stopping.clone());
    let started = Instant::now();
    let stopped = async {
        stopping.cancelled().await;
        sleep(BODY_AT_STOP).await;
    };
    tokio::pin!(stopped);
    // Memory is taken as the body comes, not as it is announced.
    let mut body = Vec::new();
    loop {
        let at_least_rate = Duration::from_secs_f64(body.len() as f64 / limits.body_least_bytes_per_sec.max(1) as f64);
        let chunk = tokio::select! {
            biased;
            chunk = payload.next() => chunk,
            () = sleep_until(started + limits.body_timeout + at_least_rate) => return Err(ApiError::new(Code::BodyTooSlow)),
            () = &mut stopped => return Err(ApiError::new(Code::BodyTooSlow)),
        };
        let Some(chunk) = chunk else { return Ok(body) };
        let chunk = chunk.map_err(|error| ApiError::detail(Code::MalformedRequest, format!("body: {error}")))?;
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
}
