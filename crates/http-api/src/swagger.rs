//! The page that shows the document: Swagger UI with its own files only, from this program.

use actix_web::{HttpResponse, http::header, web};
use utoipa_swagger_ui::{Config, SyntaxHighlight, serve};

use crate::problem::{ApiError, Code};

/// The name of the page in the browser.
const TITLE: (&str, &str) = ("<title>Swagger UI</title>", "<title>Onsale</title>");

/// Registers the page under `/docs/`; the document is served beside it.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    let page = Config::from("/openapi.json")
        // Tokens that were pasted once stay over a reload, in this browser.
        .persist_authorization(true)
        .try_it_out_enabled(true)
        .display_request_duration(true)
        // Nobody else is told of this server, on whatever host it runs.
        .validator_url("none")
        // Without colours a long list of seats is shown in seconds, with them in minutes.
        .with_syntax_highlight(SyntaxHighlight::default().activated(false))
        .use_base_layout()
        .doc_expansion("list")
        .filter(true)
        // Bodies are shown where they are used; the list of all of them helps nobody.
        .default_models_expand_depth(-1);
    config
        .app_data(web::Data::new(page))
        .service(web::redirect("/docs", "/docs/").permanent())
        .route("/docs/{file:.*}", web::get().to(file))
        .route("/docs/{file:.*}", web::head().to(file));
}

async fn file(path: web::Path<String>, config: web::Data<Config<'static>>) -> Result<HttpResponse, ApiError> {
    let found = serve(&path, config.into_inner());
    let found = found.map_err(|error| ApiError::detail(Code::Internal, error.to_string()))?;
    let file = found.ok_or_else(|| ApiError::new(Code::NotFound))?;
    let mut response = HttpResponse::Ok();
    response.content_type(file.content_type.clone());
    if file.gzpipped {
        response.insert_header(header::ContentEncoding::Gzip);
        return Ok(response.body(file.bytes.into_owned()));
    }
    Ok(match std::str::from_utf8(&file.bytes) {
        Ok(text) if text.contains(TITLE.0) => response.body(text.replace(TITLE.0, TITLE.1)),
        _ => response.body(file.bytes.into_owned()),
    })
}
