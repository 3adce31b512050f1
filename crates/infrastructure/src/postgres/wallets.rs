//! Wallets and the ledger.

use chrono::{DateTime, Utc};
use diesel::{
    pg::Pg,
    prelude::*,
    sql_types::{BigInt, Text, Uuid as SqlUuid},
};
use onsale_application::{
    error::StoreError,
    wallets::{ChargeOrder, Charges, WALLET_MAX_MINOR, Wallet, WalletEntry, WalletQueries},
};
use onsale_domain::ids::UserId;
use uuid::Uuid;

use super::{
    Postgres, PostgresTx,
    schema::{ledger_accounts, ledger_entries, ledger_transactions},
    statement::sql,
    words::fixed,
};

/// The kind of account that a fan has. Wallets have a balance, and so have their entries.
pub(super) const WALLET: &str = "wallet";

#[derive(Queryable, Selectable, QueryableByName)]
#[diesel(table_name = ledger_accounts, check_for_backend(Pg))]
struct WalletRow {
    #[diesel(sql_type = BigInt, select_expression = ledger_accounts::balance_minor.assume_not_null())]
    balance_minor: i64,
    #[diesel(sql_type = Text)]
    currency: String,
}

impl From<WalletRow> for Wallet {
    fn from(row: WalletRow) -> Self {
        Self { balance_minor: row.balance_minor, currency: row.currency }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = ledger_entries, check_for_backend(Pg))]
struct EntryRow {
    id: i64,
    #[diesel(select_expression = ledger_transactions::kind)]
    kind: String,
    amount_minor: i64,
    #[diesel(select_expression = ledger_entries::balance_after_minor.assume_not_null())]
    balance_after_minor: i64,
    #[diesel(select_expression = ledger_accounts::currency)]
    currency: String,
    #[diesel(select_expression = ledger_transactions::reference_id)]
    reference_id: Uuid,
    created_at: DateTime<Utc>,
}

impl From<EntryRow> for WalletEntry {
    fn from(row: EntryRow) -> Self {
        let EntryRow { id, kind, amount_minor, balance_after_minor, currency, reference_id, created_at } = row;
        Self { id, kind, amount_minor, balance_after_minor, currency, reference_id, created_at }
    }
}

impl Charges for PostgresTx {
    async fn charge(&mut self, order: &ChargeOrder) -> Result<Option<Wallet>, StoreError> {
        let charge = sql(include_str!("sql/charge.sql"))
            .bind::<SqlUuid, _>("charge_id", order.id)
            .bind::<SqlUuid, _>("user_id", order.user.0)
            .bind::<BigInt, _>("amount_minor", order.amount.minor())
            .bind::<SqlUuid, _>("ledger_transaction_id", order.ledger_transaction.0)
            .bind::<BigInt, _>("wallet_max_minor", WALLET_MAX_MINOR)
            .bind::<SqlUuid, _>("event_id", order.event_id);
        let row: Option<WalletRow> = self.one(charge).await?;
        Ok(row.map(Wallet::from))
    }
}

impl WalletQueries for Postgres {
    async fn wallet(&self, user: UserId) -> Result<Option<Wallet>, StoreError> {
        let row: Option<WalletRow> = self
            .read_one(|| {
                ledger_accounts::table
                    .filter(ledger_accounts::user_id.eq(user.0))
                    .filter(ledger_accounts::kind.eq(fixed(WALLET)))
                    .select(WalletRow::as_select())
            })
            .await?;
        Ok(row.map(Wallet::from))
    }

    async fn entries(&self, user: UserId, before: Option<i64>, limit: i64) -> Result<Vec<WalletEntry>, StoreError> {
        let rows: Vec<EntryRow> = self
            .read_all(|| {
                ledger_entries::table
                    .inner_join(ledger_accounts::table)
                    .inner_join(ledger_transactions::table)
                    .filter(ledger_accounts::user_id.eq(user.0))
                    .filter(ledger_accounts::kind.eq(fixed(WALLET)))
                    .filter(ledger_entries::id.lt(before.unwrap_or(i64::MAX)))
                    .order(ledger_entries::id.desc())
                    .limit(limit)
                    .select(EntryRow::as_select())
            })
            .await?;
        Ok(rows.into_iter().map(WalletEntry::from).collect())
    }
}
