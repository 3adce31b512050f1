//! Housekeeping.

use diesel::sql_types::{Array, BigInt, Bool, Uuid as SqlUuid};
use onsale_application::{error::StoreError, housekeeping::Sweeper};
use uuid::Uuid;

use super::{Postgres, statement::statement};

impl Sweeper for Postgres {
    async fn sweep_holds(&self, limit: i64) -> Result<i64, StoreError> {
        let ended: Option<i64> = self
            .row(|| {
                statement::<BigInt>(include_str!("sql/end_overdue.sql"))
                    .bind::<BigInt, _>(limit)
                    .bind::<Bool, _>(false)
                    .bind::<SqlUuid, _>(Uuid::nil())
                    .bind::<SqlUuid, _>(Uuid::nil())
                    .bind::<Array<SqlUuid>, _>(Vec::<Uuid>::new())
            })
            .await?;
        Ok(ended.unwrap_or(0))
    }

    async fn sweep_leftovers(&self, limit: i64) -> Result<i64, StoreError> {
        let deleted: Option<i64> = self
            .row(|| {
                statement::<BigInt>(
                    "WITH keys AS (
                        DELETE FROM idempotency_keys WHERE (user_id, key) IN (
                            SELECT user_id, key FROM idempotency_keys
                            WHERE created_at < now() - interval '24 hours' ORDER BY created_at LIMIT $1)
                        RETURNING 1
                     ), tokens AS (
                        DELETE FROM refresh_tokens WHERE token_hash IN (
                            SELECT token_hash FROM refresh_tokens WHERE expires_at < now() ORDER BY expires_at LIMIT $1)
                        RETURNING 1
                     )
                     SELECT (SELECT count(*) FROM keys) + (SELECT count(*) FROM tokens)",
                )
                .bind::<BigInt, _>(limit)
            })
            .await?;
        Ok(deleted.unwrap_or(0))
    }
}
