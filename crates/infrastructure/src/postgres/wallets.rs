//! Wallets and the ledger.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use onsale_application::{
    error::StoreError,
    wallets::{ChargeOrder, Charges, WALLET_MAX_MINOR, Wallet, WalletEntry, WalletQueries},
};
use onsale_domain::ids::UserId;
use uuid::Uuid;

use super::{Postgres, PostgresTx, statement::statement};

impl Charges for PostgresTx {
    async fn charge(&mut self, order: &ChargeOrder) -> Result<Option<Wallet>, StoreError> {
        let query = statement::<(BigInt, Text)>(include_str!("sql/charge.sql"))
            .bind::<SqlUuid, _>(order.id)
            .bind::<SqlUuid, _>(order.user.0)
            .bind::<BigInt, _>(order.amount.minor())
            .bind::<SqlUuid, _>(order.ledger_transaction.0)
            .bind::<BigInt, _>(WALLET_MAX_MINOR)
            .bind::<SqlUuid, _>(order.event_id);
        let rows: Vec<(i64, String)> = self.rows(query).await?;
        Ok(rows.into_iter().next().map(|(balance_minor, currency)| Wallet { balance_minor, currency }))
    }
}

impl WalletQueries for Postgres {
    async fn wallet(&self, user: UserId) -> Result<Option<Wallet>, StoreError> {
        let row: Option<(i64, String)> = self
            .row(|| {
                statement::<(BigInt, Text)>(
                    "SELECT balance_minor, currency::text FROM ledger_accounts WHERE user_id = $1 AND kind = 'wallet'",
                )
                .bind::<SqlUuid, _>(user.0)
            })
            .await?;
        Ok(row.map(|(balance_minor, currency)| Wallet { balance_minor, currency }))
    }

    async fn entries(&self, user: UserId, before: Option<i64>, limit: i64) -> Result<Vec<WalletEntry>, StoreError> {
        let rows: Vec<(i64, String, i64, i64, String, Uuid, DateTime<Utc>)> = self
            .rows(|| {
                statement::<(BigInt, Text, BigInt, BigInt, Text, SqlUuid, Timestamptz)>(
                    "SELECT e.id, t.kind, e.amount_minor, e.balance_after_minor, a.currency::text, t.reference_id, e.created_at
                     FROM ledger_accounts a
                     JOIN ledger_entries e ON e.account_id = a.id
                     JOIN ledger_transactions t ON t.id = e.transaction_id
                     WHERE a.user_id = $1 AND a.kind = 'wallet' AND ($2::bigint IS NULL OR e.id < $2)
                     ORDER BY e.id DESC LIMIT $3",
                )
                .bind::<SqlUuid, _>(user.0)
                .bind::<Nullable<BigInt>, _>(before)
                .bind::<BigInt, _>(limit)
            })
            .await?;
        Ok(rows
            .into_iter()
            .map(|(id, kind, amount_minor, balance_after_minor, currency, reference_id, created_at)| WalletEntry {
                id,
                kind,
                amount_minor,
                balance_after_minor,
                currency,
                reference_id,
                created_at,
            })
            .collect())
    }
}
