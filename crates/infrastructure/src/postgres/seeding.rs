//! What the command line adds: system accounts, test fans.

use diesel::sql_types::{Array, BigInt, Bool, Text, Uuid as SqlUuid};
use onsale_application::error::StoreError;
use uuid::Uuid;

use super::{Postgres, statement::statement};

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

impl Postgres {
    /// Makes sure that the accounts exist which every charge and payment is posted against.
    pub async fn ensure_system_accounts(&self, ids: [Uuid; 2], currency: &str) -> Result<(), StoreError> {
        let [cash, revenue] = ids;
        let _: Vec<bool> = self
            .rows(|| {
                statement::<Bool>(
                    "INSERT INTO ledger_accounts (id, kind, currency)
                     VALUES ($1, 'external_cash', $3), ($2, 'revenue', $3)
                     ON CONFLICT (kind, currency) WHERE kind <> 'wallet' DO NOTHING RETURNING true",
                )
                .bind::<SqlUuid, _>(cash)
                .bind::<SqlUuid, _>(revenue)
                .bind::<Text, _>(currency.to_owned())
            })
            .await?;
        Ok(())
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
        let _: Vec<i64> = self
            .rows(|| {
                statement::<BigInt>(
                    "WITH new AS (
                        SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::uuid[])
                            AS n(user_id, email, wallet_id, charge_id, posting_id)
                     ), people AS (
                        INSERT INTO users (id, email, password_hash, display_name, role)
                        SELECT user_id, email, '!', 'Test fan', 'fan' FROM new RETURNING id
                     ), wallets AS (
                        INSERT INTO ledger_accounts (id, kind, user_id, currency, balance_minor)
                        SELECT wallet_id, 'wallet', user_id, $6, $7 FROM new RETURNING id
                     ), postings AS (
                        INSERT INTO ledger_transactions (id, kind, reference_id)
                        SELECT posting_id, 'charge', charge_id FROM new WHERE $7 > 0 RETURNING id
                     ), entries AS (
                        INSERT INTO ledger_entries (transaction_id, account_id, amount_minor, balance_after_minor)
                        SELECT posting_id, wallet_id, $7, $7 FROM new WHERE $7 > 0
                        UNION ALL
                        SELECT posting_id, a.id, -$7, NULL FROM new, ledger_accounts a
                        WHERE $7 > 0 AND a.kind = 'external_cash' AND a.currency = $6
                     )
                     SELECT (SELECT count(*) FROM people) + (SELECT count(*) FROM wallets)",
                )
                .bind::<Array<SqlUuid>, _>(fans.iter().map(|fan| fan.id).collect::<Vec<_>>())
                .bind::<Array<Text>, _>(fans.iter().map(|fan| fan.email.clone()).collect::<Vec<_>>())
                .bind::<Array<SqlUuid>, _>(column(0))
                .bind::<Array<SqlUuid>, _>(column(1))
                .bind::<Array<SqlUuid>, _>(column(2))
                .bind::<Text, _>(currency.to_owned())
                .bind::<BigInt, _>(balance_minor)
            })
            .await?;
        Ok(())
    }

    /// Whether there is any concert.
    pub async fn has_concerts(&self) -> Result<bool, StoreError> {
        let found: Option<bool> = self.row(|| statement::<Bool>("SELECT EXISTS (SELECT 1 FROM concerts)")).await?;
        Ok(found.unwrap_or(false))
    }
}
