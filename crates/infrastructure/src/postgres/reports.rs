//! Reports for operators.

use diesel::sql_types::{BigInt, Nullable, Text, Uuid as SqlUuid};
use onsale_application::{
    error::StoreError,
    reports::{OutboxReport, Reconciliation, ReportQueries, ShowReport},
    transaction::{Transaction, UnitOfWork},
};
use onsale_domain::ids::ShowId;

use super::{Postgres, pool::impossible, statement::statement};

impl ReportQueries for Postgres {
    async fn show_report(&self, show: ShowId) -> Result<Option<ShowReport>, StoreError> {
        let row: Option<(i64, i64, i64, i64, i64, String)> = self
            .row(|| {
                statement::<(BigInt, BigInt, BigInt, BigInt, BigInt, Text)>(
                    "SELECT
                        count(s.id) FILTER (WHERE s.state = 'available' OR (s.state = 'held' AND s.held_until <= now())),
                        count(s.id) FILTER (WHERE s.state = 'held' AND s.held_until > now()),
                        count(s.id) FILTER (WHERE s.state = 'sold'),
                        count(s.id) FILTER (WHERE s.state = 'blocked'),
                        (SELECT coalesce(sum(p.amount_minor), 0)::bigint FROM payments p
                         JOIN reservations r ON r.id = p.reservation_id
                         WHERE r.show_id = sh.id AND p.state = 'captured'),
                        sh.currency::text
                     FROM shows sh LEFT JOIN seats s ON s.show_id = sh.id
                     WHERE sh.id = $1 GROUP BY sh.id",
                )
                .bind::<SqlUuid, _>(show.0)
            })
            .await?;
        Ok(row.map(|(available, held, sold, blocked, revenue_minor, currency)| ShowReport {
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
        let settings = "SELECT set_config('statement_timeout', '60s', true), set_config('jit', 'off', true)";
        let _: Vec<(String, String)> = tx.rows(statement::<(Text, Text)>(settings)).await?;
        let rows: Vec<(i64, i64, i64, i64, i64, i64, String)> = tx
            .rows(statement::<(BigInt, BigInt, BigInt, BigInt, BigInt, BigInt, Text)>(include_str!(
                "sql/reconciliation.sql"
            )))
            .await?;
        tx.rollback().await?;
        let (entries_sum_minor, unbalanced, wallets_differing, less_revenue, half_paid, wallets_total_minor, currency) =
            rows.into_iter().next().ok_or_else(|| impossible("no reconciliation"))?;
        Ok(Reconciliation {
            entries_sum_minor,
            unbalanced_transactions: unbalanced,
            wallets_differing,
            payments_less_revenue_minor: less_revenue,
            half_paid_reservations: half_paid,
            wallets_total_minor,
            currency,
        })
    }

    async fn outbox(&self) -> Result<OutboxReport, StoreError> {
        let row: Option<(i64, i64, Option<i64>)> = self
            .row(|| {
                statement::<(BigInt, BigInt, Nullable<BigInt>)>(
                    "SELECT count(*) FILTER (WHERE published_at IS NULL), count(published_at),
                        extract(epoch FROM now() - min(created_at) FILTER (WHERE published_at IS NULL))::bigint
                     FROM outbox_events",
                )
            })
            .await?;
        let (pending, published, oldest_pending_secs) = row.ok_or_else(|| impossible("no outbox"))?;
        Ok(OutboxReport { pending, published, oldest_pending_secs })
    }
}
