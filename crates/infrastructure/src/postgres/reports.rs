//! Reports for operators.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::{
    dsl,
    pg::Pg,
    prelude::*,
    sql_types::{BigInt, Text, Timestamptz, Uuid as SqlUuid},
};
use onsale_application::{
    error::StoreError,
    reports::{OutboxReport, Reconciliation, Reports, ShowReport},
    transaction::{Transaction, UnitOfWork},
};
use onsale_domain::ids::ShowId;

use super::{Postgres, functions::set_config, pool::impossible, schema::outbox_events, statement::sql};

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct ShowReportRow {
    #[diesel(sql_type = BigInt)]
    available: i64,
    #[diesel(sql_type = BigInt)]
    held: i64,
    #[diesel(sql_type = BigInt)]
    sold: i64,
    #[diesel(sql_type = BigInt)]
    blocked: i64,
    #[diesel(sql_type = BigInt)]
    revenue_minor: i64,
    #[diesel(sql_type = Text)]
    currency: String,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct ReconciliationRow {
    #[diesel(sql_type = BigInt)]
    entries_sum_minor: i64,
    #[diesel(sql_type = BigInt)]
    unbalanced_transactions: i64,
    #[diesel(sql_type = BigInt)]
    wallets_differing: i64,
    #[diesel(sql_type = BigInt)]
    payments_less_revenue_minor: i64,
    #[diesel(sql_type = BigInt)]
    half_paid_reservations: i64,
    #[diesel(sql_type = BigInt)]
    wallets_total_minor: i64,
    #[diesel(sql_type = Text)]
    currency: String,
}

#[async_trait]
impl Reports for Postgres {
    async fn show_report(&self, show: ShowId) -> Result<Option<ShowReport>, StoreError> {
        let row: Option<ShowReportRow> =
            self.read_one(|| sql(include_str!("sql/show_report.sql")).bind::<SqlUuid, _>("show_id", show.0)).await?;
        Ok(row.map(|ShowReportRow { available, held, sold, blocked, revenue_minor, currency }| ShowReport {
            available,
            held,
            sold,
            blocked,
            revenue_minor,
            currency,
        }))
    }

    async fn reconciliation(&self) -> Result<Reconciliation, StoreError> {
        let mut tx = self.begin().await?;
        // Seconds for millions of reservations, where other statements take milliseconds; compiling it would cost one more.
        let settings = (set_config("statement_timeout", "60s", true), set_config("jit", "off", true));
        tx.execute(diesel::select(settings)).await?;
        let row: Option<ReconciliationRow> = tx.one(sql(include_str!("sql/reconciliation.sql"))).await?;
        tx.rollback().await?;
        let row = row.ok_or_else(|| impossible("no reconciliation"))?;
        Ok(Reconciliation {
            entries_sum_minor: row.entries_sum_minor,
            unbalanced_transactions: row.unbalanced_transactions,
            wallets_differing: row.wallets_differing,
            payments_less_revenue_minor: row.payments_less_revenue_minor,
            half_paid_reservations: row.half_paid_reservations,
            wallets_total_minor: row.wallets_total_minor,
            currency: row.currency,
        })
    }

    async fn outbox(&self) -> Result<OutboxReport, StoreError> {
        let row: Option<(i64, i64, Option<DateTime<Utc>>, DateTime<Utc>)> = self
            .read_one(|| {
                let pending = outbox_events::published_at.is_null();
                outbox_events::table.select((
                    dsl::count(outbox_events::id).aggregate_filter(pending),
                    dsl::count(outbox_events::published_at),
                    dsl::min(outbox_events::created_at).aggregate_filter(pending),
                    dsl::now.into_sql::<Timestamptz>(),
                ))
            })
            .await?;
        let (pending, published, oldest, now) = row.ok_or_else(|| impossible("no outbox"))?;
        // The nearest second.
        let oldest_pending_secs = oldest.map(|at| (now - at + TimeDelta::milliseconds(500)).num_seconds());
        Ok(OutboxReport { pending, published, oldest_pending_secs })
    }
}
