//! The limit that the API's speed is compared with: actix answering a JSON body and doing nothing else.
//!
//! Usage: `bare_route PORT [BYTES]`. See `loadtest/limits`. The body is a small object, or a text of as many bytes as are given.
//! It answers whatever path, so that the same script of the same client can ask it, and it has the allocator of the product. It
//! reads the body of a request, for actix closes the connection of one that nobody reads.

use actix_web::{App, HttpResponse, HttpServer, http::header::ContentType, web};
use bytes::Bytes;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let port: u16 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(8081);
    let bytes: Option<usize> = std::env::args().nth(2).and_then(|text| text.parse().ok());
    let large = bytes.map(|bytes| Bytes::from(format!("\"{}\"", "x".repeat(bytes.saturating_sub(2)))));
    HttpServer::new(move || {
        let large = large.clone();
        App::new().default_service(web::to(move |_: Bytes| {
            let large = large.clone();
            async move {
                match large {
                    Some(body) => HttpResponse::Ok().content_type(ContentType::json()).body(body),
                    None => HttpResponse::Ok()
                        .json(json!({ "state": "waiting", "position": 41_200, "poll_after_ms": 31_700 })),
                }
            }
        }))
    })
    .workers(2)
    .bind(("127.0.0.1", port))?
    .run()
    .await
}
