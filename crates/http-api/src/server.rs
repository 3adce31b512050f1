//! The HTTP server.

use std::{net::TcpListener, sync::Arc, time::Duration};

use actix_cors::Cors;
use actix_web::{
    App, HttpRequest, HttpServer,
    dev::Server,
    middleware::{Condition, from_fn},
    web,
};
use socket2::SockRef;

use crate::{
    connections::Connection,
    endpoints,
    middleware::observe,
    problem::{ApiError, Code},
    routes,
    state::ApiState,
    swagger,
};

/// Longest time for which what was sent may stay unread or unacknowledged.
const UNREAD: Duration = Duration::from_secs(30);

/// How the server listens and stops.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Worker threads.
    pub workers: usize,
    /// Longest time that a client may take to send a request's head.
    pub client_timeout: Duration,
    /// Longest time that requests under way are waited for when stopping.
    pub shutdown_timeout: Duration,
    /// Most open connections per worker.
    pub connections_per_worker: usize,
    /// Origins whose pages may call this server from a browser; `*` for all.
    pub cors_origins: Vec<String>,
}

/// Starts serving on `listener`. Signals are the caller's business.
pub fn start(state: Arc<ApiState>, listener: TcpListener, options: &ServerOptions) -> std::io::Result<Server> {
    let state = web::Data::from(state);
    let origins = options.cors_origins.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .wrap(from_fn(observe))
            .wrap(Condition::new(!origins.is_empty(), cors(&origins)))
            .configure(endpoints::configure)
            .configure(swagger::configure)
            .default_service(web::to(nothing_here))
    })
    .on_connect(|connection, extensions| {
        if let Some(socket) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() {
            // A client that never reads what it asked for must not keep its connection for ever.
            if let Err(error) = SockRef::from(socket).set_tcp_user_timeout(Some(UNREAD)) {
                tracing::debug!(%error, "a connection has no user timeout");
            }
            match Connection::watch(socket) {
                Ok(connection) => drop(extensions.insert(connection)),
                Err(error) => tracing::warn!(%error, "a connection cannot be watched"),
            }
        }
    })
    .workers(options.workers)
    .max_connections(options.connections_per_worker)
    .client_request_timeout(options.client_timeout)
    .keep_alive(Duration::from_secs(75))
    // A client that has closed its side listens no longer: its stream ends at once.
    .h1_allow_half_closed(false)
    .shutdown_timeout(options.shutdown_timeout.as_secs())
    .disable_signals()
    .listen(listener)?;
    Ok(server.run())
}

/// What browsers may send from pages of these origins, and read. Nothing that we know a person by is a cookie.
fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers([
            "authorization",
            "content-type",
            "queue-token",
            "idempotency-key",
            "if-match",
            "if-none-match",
            "last-event-id",
        ])
        .expose_headers(["etag", "location", "retry-after", "x-request-id", "allow", "seats-version"])
        .max_age(3_600);
    if origins.iter().any(|origin| origin == "*") {
        return cors.allow_any_origin().send_wildcard();
    }
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}

/// 405 for a known path under another method, else 404.
async fn nothing_here(request: HttpRequest) -> Result<&'static str, ApiError> {
    let allowed = routes::methods_of(request.path());
    if allowed.is_empty() {
        return Err(ApiError::new(Code::NotFound));
    }
    Err(ApiError { allow: Some(allowed.join(", ")), ..ApiError::new(Code::MethodNotAllowed) })
}
