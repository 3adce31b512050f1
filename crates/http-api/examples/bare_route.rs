//! The limit that the API's speed is compared with: actix answering a small JSON body and doing nothing else.
//!
//! Usage: `bare_route PORT`. See `loadtest/limits`.

use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::json;

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let port: u16 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(8081);
    HttpServer::new(|| {
        App::new().route(
            "/",
            web::get().to(async || {
                HttpResponse::Ok().json(json!({ "state": "waiting", "position": 41_200, "poll_after_ms": 31_700 }))
            }),
        )
    })
    .workers(2)
    .bind(("127.0.0.1", port))?
    .run()
    .await
}
