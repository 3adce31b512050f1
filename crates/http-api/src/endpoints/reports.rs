//! Reports for operators.

use actix_web::get;
use onsale_domain::ids::ShowId;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ApiResult, private};
use crate::{
    extract::{Id, Operator, State},
    problem::{ApiError, Code},
};

/// How a show sells.
#[derive(Serialize, ToSchema)]
#[schema(as = ShowReport)]
pub struct ShowReportDto {
    #[schema(example = "01997b1e-80a2-7d94-a1b7-5e2f8c6d9034")]
    show_id: Uuid,
    #[schema(example = 1_204)]
    available: i64,
    #[schema(example = 37)]
    held: i64,
    #[schema(example = 259)]
    sold: i64,
    #[schema(example = 0)]
    blocked: i64,
    /// Captured payments, minor units.
    #[schema(example = 38_850_000)]
    revenue_minor: i64,
    #[schema(example = "KRW")]
    currency: String,
}

/// Whether the books are right.
#[derive(Serialize, ToSchema)]
#[schema(as = Reconciliation)]
pub struct ReconciliationDto {
    /// Whether every difference below is zero.
    #[schema(example = true)]
    balanced: bool,
    /// Sum of all ledger entries.
    #[schema(example = 0)]
    entries_sum_minor: i64,
    /// Postings that do not sum to zero.
    #[schema(example = 0)]
    unbalanced_transactions: i64,
    /// Wallets whose balance differs from their entries.
    #[schema(example = 0)]
    wallets_differing: i64,
    /// Captured payments less the revenue accounts.
    #[schema(example = 0)]
    payments_less_revenue_minor: i64,
    /// Reservations that are paid in part.
    #[schema(example = 0)]
    half_paid_reservations: i64,
    /// Sum of all wallets.
    #[schema(example = 850_000)]
    wallets_total_minor: i64,
    #[schema(example = "KRW")]
    currency: String,
}

/// Events that wait to be sent.
#[derive(Serialize, ToSchema)]
#[schema(as = OutboxReport)]
pub struct OutboxReportDto {
    #[schema(example = 0)]
    pending: i64,
    #[schema(example = 1_204)]
    published: i64,
    /// Age of the oldest event that waits.
    oldest_pending_secs: Option<i64>,
}

/// How does a show sell?
#[utoipa::path(operation_id = "readShowReport", params(("id" = Uuid, Path, description = "Show")),
    responses((status = 200, description = "The report", body = ShowReportDto)))]
#[get("/admin/shows/{id}/report")]
pub(crate) async fn show_report(_operator: Operator, state: State, id: Id) -> ApiResult {
    let report = state.facades.reports.show_report(ShowId(id.0)).await?.ok_or_else(|| ApiError::new(Code::NotFound))?;
    Ok(private(&ShowReportDto {
        show_id: id.0,
        available: report.available,
        held: report.held,
        sold: report.sold,
        blocked: report.blocked,
        revenue_minor: report.revenue_minor,
        currency: report.currency,
    }))
}

/// Do the books balance?
#[utoipa::path(operation_id = "readReconciliation",
    responses((status = 200, description = "The reconciliation", body = ReconciliationDto)))]
#[get("/admin/ledger/reconciliation")]
pub(crate) async fn reconciliation(_operator: Operator, state: State) -> ApiResult {
    let r = state.facades.reports.reconciliation().await?;
    Ok(private(&ReconciliationDto {
        balanced: r.is_balanced(),
        entries_sum_minor: r.entries_sum_minor,
        unbalanced_transactions: r.unbalanced_transactions,
        wallets_differing: r.wallets_differing,
        payments_less_revenue_minor: r.payments_less_revenue_minor,
        half_paid_reservations: r.half_paid_reservations,
        wallets_total_minor: r.wallets_total_minor,
        currency: r.currency,
    }))
}

/// Count events that wait to be sent
#[utoipa::path(operation_id = "readOutbox",
    responses((status = 200, description = "The outbox", body = OutboxReportDto)))]
#[get("/admin/outbox")]
pub(crate) async fn outbox(_operator: Operator, state: State) -> ApiResult {
    let report = state.facades.reports.outbox().await?;
    Ok(private(&OutboxReportDto {
        pending: report.pending,
        published: report.published,
        oldest_pending_secs: report.oldest_pending_secs,
    }))
}
