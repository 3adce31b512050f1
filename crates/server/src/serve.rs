//! Serving, from the first connection to the last.

use std::{net::TcpListener, sync::Arc, time::Duration};

use onsale_application::{context::Ids, error::StoreError};
use onsale_http_api::ServerOptions;
use onsale_infrastructure::system::System;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    schedulers,
    wiring::{self, WiringError},
};

/// How long clients are given, when the server stops, to take answers that are ready.
const TAKE_ANSWERS: Duration = Duration::from_secs(2);

/// Why a server did not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The parts do not fit.
    #[error(transparent)]
    Wiring(#[from] WiringError),
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The schema is old.
    #[error("migrations are pending: run `onsale migrate`")]
    MigrationsPending,
    /// The socket.
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
}

/// A listener that shares nothing with other programs.
pub fn listen(config: &Config) -> Result<TcpListener, ServeError> {
    Ok(TcpListener::bind(config.bind)?)
}

/// Serves on `listener` until `stop` is cancelled, then finishes what is under way within the configured time.
pub async fn serve(config: &Config, listener: TcpListener, stop: CancellationToken) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Handle::current();
    let instance = wiring::instance(config, &runtime)?;
    if !instance.postgres.ready().await? {
        return Err(ServeError::MigrationsPending);
    }
    instance.postgres.ensure_system_accounts([System.new_id(), System.new_id()], config.currency.code()).await?;
    let schedulers_stop = CancellationToken::new();
    let schedulers = schedulers::start(&instance, config, &schedulers_stop);
    let options = ServerOptions {
        workers: config.workers,
        client_timeout: config.client_timeout,
        shutdown_timeout: config.shutdown,
        connections_per_worker: config.connections_per_worker,
        cors_origins: config.cors_origins.clone(),
    };
    let api = Arc::clone(&instance.api);
    let server = onsale_http_api::start(instance.api, listener, &options)?;
    let handle = server.handle();
    let serving = tokio::spawn(server);
    tracing::info!(address = %config.bind, "serving");
    stop.cancelled().await;
    tracing::info!("stopping: no new connections, finishing what is under way");
    // Event streams would last until the time to stop is over.
    api.stopping.cancel();
    // Requests first, then the writes that outlived their requests, then what runs by itself.
    let answered = async {
        while api.metrics.in_flight.get() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(TAKE_ANSWERS).await;
    };
    tokio::select! {
        () = handle.stop(true) => {}
        () = answered => tracing::info!("clients that do not take their answers are cut off"),
    }
    serving.abort();
    drop(serving.await);
    let rest = async {
        instance.detached.finish().await;
        schedulers_stop.cancel();
        schedulers.wait().await;
    };
    if tokio::time::timeout(config.shutdown.max(Duration::from_secs(1)), rest).await.is_err() {
        tracing::warn!("some work was still under way when the time to stop was over; PostgreSQL rolls it back");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Cancelled by Ctrl-C or SIGTERM.
pub fn stop_on_signals() -> CancellationToken {
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        let terminate = async {
            match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
                Ok(mut signal) => {
                    signal.recv().await;
                }
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = terminate => {}
        }
        cancelled.cancel();
    });
    stop
}
