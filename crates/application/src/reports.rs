//! What operators read to know that all is well.

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use onsale_domain::ids::ShowId;

use crate::error::StoreError;

/// How a show sells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShowReport {
    /// Seats that can be reserved.
    pub available: i64,
    /// Seats in live reservations.
    pub held: i64,
    /// Seats sold.
    pub sold: i64,
    /// Seats kept back.
    pub blocked: i64,
    /// Sum of captured payments in minor units.
    pub revenue_minor: i64,
    /// Currency.
    pub currency: String,
}

/// Whether the books are right. All differences are zero when they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciliation {
    /// Sum of all entries; zero when nothing was made or lost.
    pub entries_sum_minor: i64,
    /// Postings that do not sum to zero.
    pub unbalanced_transactions: i64,
    /// Wallets whose balance differs from the sum of their entries.
    pub wallets_differing: i64,
    /// Sum of captured payments less the sum on revenue accounts.
    pub payments_less_revenue_minor: i64,
    /// Paid reservations without a payment, sold seats or tickets, and the other way round.
    pub half_paid_reservations: i64,
    /// Sum of all wallet balances.
    pub wallets_total_minor: i64,
    /// ISO 4217 code of all of it.
    pub currency: String,
}

/// How many events wait to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxReport {
    /// Events not sent yet.
    pub pending: i64,
    /// Events sent.
    pub published: i64,
    /// Age of the oldest event that waits, in seconds.
    pub oldest_pending_secs: Option<i64>,
}

/// Reports, read from the database.
pub trait ReportQueries: Send + Sync + 'static {
    /// How a show sells; `None` when there is no such show.
    fn show_report(&self, show: ShowId) -> impl Future<Output = Result<Option<ShowReport>, StoreError>> + Send;
    /// Whether the books are right.
    fn reconciliation(&self) -> impl Future<Output = Result<Reconciliation, StoreError>> + Send;
    /// Events that wait.
    fn outbox(&self) -> impl Future<Output = Result<OutboxReport, StoreError>> + Send;
}

/// Reports, as the HTTP edge sees them.
#[async_trait]
pub trait Reports: Send + Sync {
    /// How a show sells.
    async fn show(&self, show: ShowId) -> Result<Option<ShowReport>, StoreError>;
    /// Whether the books are right.
    async fn reconciliation(&self) -> Result<Reconciliation, StoreError>;
    /// Events that wait.
    async fn outbox(&self) -> Result<OutboxReport, StoreError>;
}

/// Boxes the queries once, at the edge.
pub struct ReportsFacade<Q>(pub Arc<Q>);

#[async_trait]
impl<Q: ReportQueries> Reports for ReportsFacade<Q> {
    async fn show(&self, show: ShowId) -> Result<Option<ShowReport>, StoreError> {
        self.0.show_report(show).await
    }

    async fn reconciliation(&self) -> Result<Reconciliation, StoreError> {
        self.0.reconciliation().await
    }

    async fn outbox(&self) -> Result<OutboxReport, StoreError> {
        self.0.outbox().await
    }
}
