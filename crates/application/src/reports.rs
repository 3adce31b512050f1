//! What operators read to know that all is well.

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

impl Reconciliation {
    /// Whether every difference is zero.
    pub fn is_balanced(&self) -> bool {
        let differences = [
            self.entries_sum_minor,
            self.unbalanced_transactions,
            self.wallets_differing,
            self.payments_less_revenue_minor,
            self.half_paid_reservations,
        ];
        differences.iter().all(|difference| *difference == 0)
    }
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

/// Reports, read from the database. Nothing is decided on the way, so the HTTP edge reads them as they are.
#[async_trait]
pub trait Reports: Send + Sync + 'static {
    /// How a show sells; `None` when there is no such show.
    async fn show_report(&self, show: ShowId) -> Result<Option<ShowReport>, StoreError>;
    /// Whether the books are right.
    async fn reconciliation(&self) -> Result<Reconciliation, StoreError>;
    /// Events that wait.
    async fn outbox(&self) -> Result<OutboxReport, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_balance_only_when_there_is_no_difference() {
        let right = Reconciliation {
            entries_sum_minor: 0,
            unbalanced_transactions: 0,
            wallets_differing: 0,
            payments_less_revenue_minor: 0,
            half_paid_reservations: 0,
            wallets_total_minor: 7,
            currency: "KRW".to_owned(),
        };
        assert!(right.is_balanced());
        let wrong = [
            Reconciliation { entries_sum_minor: -1, ..right.clone() },
            Reconciliation { unbalanced_transactions: 1, ..right.clone() },
            Reconciliation { wallets_differing: 1, ..right.clone() },
            Reconciliation { payments_less_revenue_minor: -1, ..right.clone() },
            Reconciliation { half_paid_reservations: 1, ..right },
        ];
        for wrong in wrong {
            assert!(!wrong.is_balanced(), "{wrong:?}");
        }
    }
}
