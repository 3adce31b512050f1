//! Wallets: charge, balance, entries.

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use onsale_domain::{
    fault::Faults,
    ids::{LedgerTransactionId, UserId},
    wallet::ChargeAmount,
};
use uuid::Uuid;

use crate::{
    context::Ids,
    error::StoreError,
    idempotency::{self, IdempotencyKeys, Idempotent, KeyRefusal, Work},
    page::{Page, rows_for},
    transaction::UnitOfWork,
};

/// A wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wallet {
    /// Balance in minor units, never negative.
    pub balance_minor: i64,
    /// Currency.
    pub currency: String,
}

/// A line of a wallet's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletEntry {
    /// Id, growing.
    pub id: i64,
    /// `charge`, `payment` or `refund`.
    pub kind: String,
    /// Positive into the wallet, negative out of it.
    pub amount_minor: i64,
    /// Balance after this entry.
    pub balance_after_minor: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// The charge or payment it belongs to.
    pub reference_id: Uuid,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// A charge that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Id.
    pub id: Uuid,
    /// Amount in minor units.
    pub amount_minor: i64,
    /// The wallet afterwards.
    pub wallet: Wallet,
}

/// A charge to be made.
#[derive(Debug, Clone, Copy)]
pub struct ChargeOrder {
    /// Id of the charge.
    pub id: Uuid,
    /// Id of the posting.
    pub ledger_transaction: LedgerTransactionId,
    /// Whose wallet.
    pub user: UserId,
    /// Id of the event that tells of it.
    pub event_id: Uuid,
    /// Amount.
    pub amount: ChargeAmount,
}

/// Charges, within a transaction.
pub trait Charges: Send {
    /// Adds exactly the amount, as one posting that sums to zero. `None` when the wallet would hold more than
    /// [`WALLET_MAX_MINOR`].
    fn charge(&mut self, order: &ChargeOrder) -> impl Future<Output = Result<Option<Wallet>, StoreError>> + Send;
}

/// The most that a wallet may hold, in minor units.
pub const WALLET_MAX_MINOR: i64 = 1_000_000_000_000_000;

/// Reads of wallets.
pub trait WalletQueries: Send + Sync + 'static {
    /// The fan's wallet.
    fn wallet(&self, user: UserId) -> impl Future<Output = Result<Option<Wallet>, StoreError>> + Send;
    /// The fan's entries, newest first, before entry `before`; one more than `limit` when there are more.
    fn entries(
        &self,
        user: UserId,
        before: Option<i64>,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<WalletEntry>, StoreError>> + Send;
}

/// Why a wallet was not charged or read.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The amount is out of range.
    #[error(transparent)]
    Invalid(#[from] Faults),
    /// Wallets are not filled for nothing in this installation.
    #[error("wallets are not filled for nothing here")]
    NoFreeTopUp,
    /// The wallet would hold too much.
    #[error("the wallet would hold more than {WALLET_MAX_MINOR}")]
    Full,
    /// The account is gone.
    #[error("the account has no wallet")]
    Gone,
    /// The idempotency key.
    #[error(transparent)]
    Key(#[from] KeyRefusal),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Wallets, as the HTTP edge sees them.
#[async_trait]
pub trait Wallets: Send + Sync {
    /// The fan's wallet.
    async fn wallet(&self, fan: UserId) -> Result<Wallet, WalletError>;
    /// The fan's entries, newest first.
    async fn entries(
        &self,
        fan: UserId,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page<WalletEntry, i64>, WalletError>;
    /// Puts money into the wallet.
    async fn charge(
        &self,
        fan: UserId,
        amount_minor: i64,
        idempotent: Idempotent<Charge>,
    ) -> Result<String, WalletError>;
}

/// Wallets over the database.
pub struct WalletsFacade<U, Q, C> {
    /// Transactions.
    pub unit: Arc<U>,
    /// Reads.
    pub queries: Arc<Q>,
    /// Ids.
    pub context: C,
    /// The most that one charge may add, in minor units.
    pub charge_max_minor: i64,
    /// Whether a charge needs no payment.
    pub free_top_up: bool,
}

struct ChargeWork {
    order: ChargeOrder,
}

impl<Tx: Charges> Work<Tx, Charge, WalletError> for ChargeWork {
    async fn run(self, tx: &mut Tx) -> Result<Charge, WalletError> {
        let wallet = tx.charge(&self.order).await?.ok_or(WalletError::Full)?;
        Ok(Charge { id: self.order.id, amount_minor: self.order.amount.minor(), wallet })
    }
}

#[async_trait]
impl<U, Q, C> Wallets for WalletsFacade<U, Q, C>
where
    U: UnitOfWork,
    U::Tx: Charges + IdempotencyKeys,
    Q: WalletQueries,
    C: Ids,
{
    async fn wallet(&self, fan: UserId) -> Result<Wallet, WalletError> {
        self.queries.wallet(fan).await?.ok_or(WalletError::Gone)
    }

    async fn entries(
        &self,
        fan: UserId,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page<WalletEntry, i64>, WalletError> {
        let found = self.queries.entries(fan, before, rows_for(limit)).await?;
        Ok(Page::cut(found, limit, |entry| entry.id))
    }

    async fn charge(
        &self,
        fan: UserId,
        amount_minor: i64,
        idempotent: Idempotent<Charge>,
    ) -> Result<String, WalletError> {
        if !self.free_top_up {
            return Err(WalletError::NoFreeTopUp);
        }
        let order = ChargeOrder {
            id: self.context.new_id(),
            ledger_transaction: LedgerTransactionId(self.context.new_id()),
            user: fan,
            event_id: self.context.new_id(),
            amount: ChargeAmount::new(amount_minor, self.charge_max_minor)?,
        };
        let charged: Result<_, WalletError> =
            idempotency::run(self.unit.as_ref(), fan, &idempotent, ChargeWork { order }).await;
        Ok(charged?.answer)
    }
}
