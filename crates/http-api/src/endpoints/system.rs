//! Keys, health, metrics and the document.

use actix_web::{HttpRequest, HttpResponse, get, web};
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
    #[schema(example = json!([{
        "alg": "EdDSA", "crv": "Ed25519", "kid": "If4x36FU", "kty": "OKP", "use": "sig",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    }]))]
    keys: Vec<serde_json::Value>,
}

fn ok() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok".to_owned() })
}

/// Get the keys that verify tickets and receipts
#[utoipa::path(operation_id = "readTicketKeys",
    responses((status = 200, description = "The keys", body = KeySet)))]
#[get("/.well-known/jwks.json")]
pub(crate) async fn jwks(request: HttpRequest, state: State) -> ApiResult {
    Ok(Rendered::new(state.facades.tickets.public_keys()).respond(&request, "public, max-age=300"))
}

/// Is the process alive?
#[utoipa::path(operation_id = "livez",
    responses((status = 200, description = "It is", body = Health)))]
#[get("/livez")]
pub(crate) async fn livez() -> ApiResult {
    Ok(ok())
}

/// Can the process serve?
///
/// PostgreSQL and Redis answer and the schema is current.
#[utoipa::path(operation_id = "readyz",
    responses((status = 200, description = "It can", body = Health)))]
#[get("/readyz")]
pub(crate) async fn readyz(state: State) -> ApiResult {
    match (state.probes.readiness)().await {
        Ok(()) => Ok(ok()),
        Err(reason) => Err(ApiError::detail(Code::NotReady, reason)),
    }
}

/// Read the metrics
///
/// As Prometheus text.
#[utoipa::path(operation_id = "metrics",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain",
        example = crate::metrics::example)))]
#[get("/metrics")]
pub(crate) async fn metrics(state: State) -> ApiResult {
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body((state.probes.scrape)()))
}

/// Read this document
#[utoipa::path(operation_id = "readOpenApi",
    responses((status = 200, description = "The OpenAPI 3.1 document", body = serde_json::Value,
        example = json!({ "openapi": "3.1.0", "info": { "title": "Onsale", "version": env!("CARGO_PKG_VERSION") }, "paths": {} }))))]
#[get("/openapi.json")]
pub(crate) async fn openapi(request: HttpRequest, state: State) -> ApiResult {
    state.openapi.respond_packed(&request, "no-cache").await
}

/// Read what a problem's code means
///
/// And what a client does about it, as a page for people. `type` of a problem leads here.
#[utoipa::path(operation_id = "readProblem",
    params(("code" = String, Path, description = "Code of a problem", example = "seat_taken")),
    responses((status = 200, description = "The page", body = String, content_type = "text/html", example = page_example)))]
#[get("/problems/{code}")]
pub(crate) async fn problem(code: web::Path<String>) -> ApiResult {
    let code = Code::parse(&code).ok_or_else(|| ApiError::new(Code::NotFound))?;
    Ok(HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page_of(code)))
}

fn page_example() -> String {
    page_of(Code::SeatTaken)
}

/// What a code means, as a page.
fn page_of(code: Code) -> String {
    let (name, status, title) = (code.as_str(), code.status(), code.title());
    // Backquotes in pairs, as Markdown has them; the texts are our own and have nothing else to escape.
    let advice: String = code
        .advice()
        .split('`')
        .enumerate()
        .map(|(index, part)| if index % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() })
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{name}</title>\n<h1><code>{name}</code></h1>\n\
         <p>{title}. HTTP status {status}.</p>\n<h2>What to do</h2>\n<p>{advice}</p>\n"
    )
}
