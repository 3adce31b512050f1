//! Keys, health, metrics and the document.

use actix_web::{HttpRequest, HttpResponse, get};
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiResult;
use crate::{
    conditional::Rendered,
    extract::State,
    problem::{ApiError, Code},
};

/// Health.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    #[schema(example = "ok")]
    status: String,
}

/// A JSON Web Key Set (RFC 7517).
#[derive(Serialize, ToSchema)]
pub struct KeySet {
    /// The public keys that verify ticket codes.
    keys: Vec<serde_json::Value>,
}

fn ok() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok".to_owned() })
}

/// The public keys that verify ticket codes.
#[utoipa::path(tag = "Tickets", operation_id = "readTicketKeys",
    responses((status = 200, description = "The keys", body = KeySet)))]
#[get("/.well-known/jwks.json")]
pub(crate) async fn jwks(request: HttpRequest, state: State) -> ApiResult {
    Ok(Rendered::new(state.facades.tickets.public_keys()).respond(&request, "public, max-age=300"))
}

/// Is the process alive?
#[utoipa::path(tag = "System", operation_id = "livez",
    responses((status = 200, description = "It is", body = Health)))]
#[get("/livez")]
pub(crate) async fn livez() -> ApiResult {
    Ok(ok())
}

/// Can the process serve? PostgreSQL and Redis answer and the schema is current.
#[utoipa::path(tag = "System", operation_id = "readyz",
    responses((status = 200, description = "It can", body = Health)))]
#[get("/readyz")]
pub(crate) async fn readyz(state: State) -> ApiResult {
    match (state.probes.readiness)().await {
        Ok(()) => Ok(ok()),
        Err(reason) => Err(ApiError::detail(Code::NotReady, reason)),
    }
}

/// Metrics as Prometheus text.
#[utoipa::path(tag = "System", operation_id = "metrics",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")))]
#[get("/metrics")]
pub(crate) async fn metrics(state: State) -> ApiResult {
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body((state.probes.scrape)()))
}

/// This document.
#[utoipa::path(tag = "System", operation_id = "readOpenApi",
    responses((status = 200, description = "The OpenAPI 3.1 document", body = serde_json::Value)))]
#[get("/openapi.json")]
pub(crate) async fn openapi(request: HttpRequest, state: State) -> ApiResult {
    Ok(state.openapi.respond(&request, "no-cache"))
}
