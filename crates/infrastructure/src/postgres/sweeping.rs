//! Housekeeping.

use diesel::sql_types::{Array, BigInt, Bool, Uuid as SqlUuid};
use onsale_application::{error::StoreError, housekeeping::Sweeper};
use uuid::Uuid;

use super::{Postgres, statement::statement};

impl Postgres {
    /// Moves places of sales that closed long ago, whose lines are ticked no more, and drops their ballots.
    async fn move_past_places(&self, limit: i64) -> Result<i64, StoreError> {
        let moved: Option<i64> = self
            .for_lines()
            .row(|| {
                statement::<BigInt>(
                    "WITH past AS MATERIALIZED (
                        SELECT c.id FROM concerts c
                        WHERE c.sale_state = 'closed' AND c.updated_at < now() - interval '2 days'
                            AND (EXISTS (SELECT 1 FROM line_places p WHERE p.concert_id = c.id)
                                OR EXISTS (SELECT 1 FROM line_ballots b WHERE b.concert_id = c.id))
                        LIMIT 1
                     ), moved AS (
                        DELETE FROM line_places p USING past, LATERAL (
                            SELECT concert_id, number FROM line_places WHERE concert_id = past.id ORDER BY number LIMIT $1) few
                        WHERE p.concert_id = few.concert_id AND p.number = few.number
                        RETURNING p.*
                     ), kept AS (
                        INSERT INTO line_places_past SELECT * FROM moved
                     ), ballots AS (
                        DELETE FROM line_ballots b USING past, LATERAL (
                            SELECT concert_id, user_id FROM line_ballots WHERE concert_id = past.id
                            ORDER BY key, place_id LIMIT $1) few
                        WHERE b.user_id = few.user_id AND b.concert_id = few.concert_id
                        RETURNING 1
                     )
                     SELECT (SELECT count(*) FROM moved) + (SELECT count(*) FROM ballots)",
                )
                .bind::<BigInt, _>(limit)
            })
            .await?;
        Ok(moved.unwrap_or(0))
    }
}

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
        Ok(deleted.unwrap_or(0) + self.move_past_places(limit).await?)
    }
}
