//! The limit that the API's speed is compared with: actix answering a small JSON body and doing nothing else.
//!
//! Usage: `bare_route PORT`. See `loadtest/limits`. It answers whatever path, so that the same script of the same client can ask
//! it, and it has the allocator of the product.

use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let port: u16 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(8081);
    HttpServer::new(|| {
        App::new().default_service(web::to(async || {
            HttpResponse::Ok().json(json!({ "state": "waiting", "position": 41_200, "poll_after_ms": 31_700 }))
        }))
    })
    .workers(2)
    .bind(("127.0.0.1", port))?
    .run()
    .await
}
