//! What the command line adds: system accounts, test fans.

use diesel::{
    dsl,
    prelude::*,
    sql_types::{Array, BigInt, Text, Uuid as SqlUuid},
};
use onsale_application::error::StoreError;
use uuid::Uuid;

use super::{
    Postgres,
    schema::{concerts, ledger_accounts},
    statement::sql,
    wallets::WALLET,
    words::fixed,
};

/// A fan for load tests: no password, so nobody can log in as one.
#[derive(Debug, Clone)]
pub struct TestFan {
    /// Id of the user.
    pub id: Uuid,
    /// Address, unique.
    pub email: String,
    /// Ids for the wallet, the charge and its posting.
    pub wallet_ids: [Uuid; 3],
}

/// An account without a balance.
#[derive(Insertable)]
#[diesel(table_name = ledger_accounts)]
struct NewSystemAccount {
    id: Uuid,
    kind: &'static str,
    currency: String,
}

impl Postgres {
    /// Makes sure that the accounts exist which every charge and payment is posted against.
    pub async fn ensure_system_accounts(&self, ids: [Uuid; 2], currency: &str) -> Result<(), StoreError> {
        let [cash, revenue] = ids;
        let account = |id, kind| NewSystemAccount { id, kind, currency: currency.to_owned() };
        let accounts = vec![account(cash, "external_cash"), account(revenue, "revenue")];
        let insert = diesel::insert_into(ledger_accounts::table)
            .values(accounts)
            .on_conflict((ledger_accounts::kind, ledger_accounts::currency))
            .filter_target(ledger_accounts::kind.ne(fixed(WALLET)))
            .do_nothing();
        self.execute(insert).await.map(|_| ())
    }

    /// Adds fans with wallets that hold `balance_minor`, booked like any other charge. All or none; an address that
    /// exists is an error.
    pub async fn insert_test_fans(
        &self,
        fans: &[TestFan],
        currency: &str,
        balance_minor: i64,
    ) -> Result<(), StoreError> {
        let column =
            |index: usize| -> Vec<Uuid> { fans.iter().filter_map(|fan| fan.wallet_ids.get(index).copied()).collect() };
        let insert = sql(include_str!("sql/insert_test_fans.sql"))
            .bind::<Array<SqlUuid>, _>("user_ids", fans.iter().map(|fan| fan.id).collect::<Vec<_>>())
            .bind::<Array<Text>, _>("emails", fans.iter().map(|fan| fan.email.clone()).collect::<Vec<_>>())
            .bind::<Array<SqlUuid>, _>("wallet_ids", column(0))
            .bind::<Array<SqlUuid>, _>("charge_ids", column(1))
            .bind::<Array<SqlUuid>, _>("posting_ids", column(2))
            .bind::<Text, _>("currency", currency.to_owned())
            .bind::<BigInt, _>("balance_minor", balance_minor);
        self.execute(insert).await.map(|_| ())
    }

    /// Whether there is any concert.
    pub async fn has_concerts(&self) -> Result<bool, StoreError> {
        let found: Option<bool> =
            self.read_one(|| diesel::select(dsl::exists(concerts::table.select(concerts::id)))).await?;
        Ok(found.unwrap_or(false))
    }
}
