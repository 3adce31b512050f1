//! What runs by itself, in every instance, without a leader: the stores make sure that running it often or in many
//! places does no harm.

use std::{sync::Arc, time::Duration};

use onsale_application::{
    catalogue::CatalogueStore,
    error::StoreError,
    housekeeping::{LineTick, Sweeper, tick_all},
    line::LineRecords,
};
use onsale_http_api::ApiState;
use onsale_infrastructure::postgres::Postgres;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Config,
    telemetry::Gauges,
    wiring::{Instance, LineKeeper},
};

/// Starts the promoter and the sweeper on the current runtime; both end when `stop` is cancelled.
pub fn start(instance: &Instance, config: &Config, stop: &CancellationToken) -> TaskTracker {
    let tasks = TaskTracker::new();
    let keeper = &instance.keeper;
    tasks.spawn(counter(Arc::clone(keeper), stop.clone()));
    tasks.spawn(promoter(Arc::clone(keeper), instance.gauges.clone(), config.line_tick, stop.clone()));
    tasks.spawn(watcher(Arc::clone(keeper), stop.clone()));
    tasks.spawn(estimates(Arc::clone(&instance.postgres), instance.gauges.clone(), stop.clone()));
    tasks.spawn(sweeper(
        Arc::clone(&instance.postgres),
        Arc::clone(&instance.api),
        instance.gauges.clone(),
        config.sweep_interval,
        config.sweep_batch,
        stop.clone(),
    ));
    tasks.close();
    tasks
}

async fn promoter(keeper: Arc<LineKeeper>, gauges: Gauges, every: Duration, stop: CancellationToken) {
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = beat.tick() => {}
        }
        match tick_all(&keeper).await {
            Ok(ticks) => {
                for tick in ticks {
                    record(&gauges, &tick);
                }
            }
            Err(error) => {
                gauges.ticks.with_label_values(&["failed"]).inc();
                tracing::warn!(%error, "the open lines cannot be read; nobody is promoted until they can");
            }
        }
    }
}

fn record(gauges: &Gauges, tick: &LineTick) {
    let concert_id = tick.concert_id.to_string();
    match &tick.outcome {
        Ok(ticked) => {
            let outcome = if ticked.due { "promoted" } else { "not_due" };
            gauges.ticks.with_label_values(&[outcome]).inc();
            let last = &ticked.last;
            gauges.waiting.with_label_values(&[&concert_id]).set(last.waiting);
            gauges.active.with_label_values(&[&concert_id]).set(last.active);
            gauges.promoted.with_label_values(&[&concert_id]).set(last.promoted_total);
            if ticked.promoted > 0 {
                let (promoted, waiting, active) = (ticked.promoted, last.waiting, last.active);
                tracing::info!(concert_id, promoted, waiting, active, lapsed = ticked.lapsed, "promoted");
            }
        }
        Err(error) => {
            gauges.ticks.with_label_values(&["failed"]).inc();
            tracing::warn!(concert_id, %error, "a line's tick failed; the next one tries again");
        }
    }
}

/// Counts seats that somebody wants to know of, each concert by itself: a slow count holds up nothing else.
pub async fn counter(keeper: Arc<LineKeeper>, stop: CancellationToken) {
    let mut beat = interval(Duration::from_millis(100));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = beat.tick() => {}
        }
        for concert in keeper.stock.due() {
            let keeper = Arc::clone(&keeper);
            tokio::spawn(async move {
                if let Err(error) = keeper.stock.count(concert, false).await {
                    tracing::warn!(%error, concert_id = %concert, "the seats cannot be counted");
                }
            });
        }
    }
}

/// Refreshes what fans follow, so that they hear of a change within a second.
async fn watcher(keeper: Arc<LineKeeper>, stop: CancellationToken) {
    let mut beat = interval(Duration::from_millis(250));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = beat.tick() => keeper.snapshots.refresh_watched().await,
        }
    }
}

/// Publishes how right past estimates were, every half minute.
async fn estimates(postgres: Arc<Postgres>, gauges: Gauges, stop: CancellationToken) {
    let mut beat = interval(Duration::from_secs(30));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = beat.tick() => {}
        }
        if let Err(error) = publish_estimates(&postgres, &gauges).await {
            tracing::debug!(%error, "past estimates could not be read");
        }
    }
}

async fn publish_estimates(postgres: &Postgres, gauges: &Gauges) -> Result<(), StoreError> {
    for concert in postgres.concerts_with_a_line().await? {
        let errors = postgres.estimate_errors(concert.id).await?;
        if errors.checked > 0 {
            let id = concert.id.to_string();
            gauges.eta_error.with_label_values(&[id.as_str(), "0.5"]).set(errors.p50_secs);
            gauges.eta_error.with_label_values(&[id.as_str(), "0.9"]).set(errors.p90_secs);
            #[expect(clippy::cast_precision_loss, reason = "1,000 at most")]
            gauges.eta_kept.with_label_values(&[&id]).set(errors.kept as f64 / errors.checked as f64);
        }
    }
    Ok(())
}

async fn sweeper(
    postgres: Arc<Postgres>,
    api: Arc<ApiState>,
    gauges: Gauges,
    every: Duration,
    batch: i64,
    stop: CancellationToken,
) {
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = beat.tick() => {}
        }
        api.shrink_rate_tables();
        let swept = async {
            loop {
                let ended = postgres.sweep_holds(batch).await?;
                gauges.swept.inc_by(u64::try_from(ended).unwrap_or(0));
                if ended < batch {
                    break;
                }
            }
            postgres.sweep_leftovers(batch).await
        };
        if let Err(error) = swept.await {
            tracing::warn!(%error, "a sweep failed; holds that ran out are free all the same");
        }
    }
}
