//! Opening draws.

use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Uuid as SqlUuid};
use onsale_application::{
    error::StoreError,
    line::{DrawView, LineDraws},
    transaction::{Transaction, UnitOfWork},
};
use onsale_domain::{ids::ConcertId, queue::DrawSeed};
use uuid::Uuid;

use super::{Postgres, line::hash_of, pool::impossible, statement::statement};

impl LineDraws for Postgres {
    async fn draw_seed(&self, concert: ConcertId, fresh: DrawSeed) -> Result<DrawSeed, StoreError> {
        let seed: Option<Vec<u8>> = self
            .row(|| {
                statement::<Binary>(
                    "INSERT INTO lines (concert_id, draw_seed) VALUES ($1, $2)
                     ON CONFLICT (concert_id) DO UPDATE SET draw_seed = coalesce(lines.draw_seed, excluded.draw_seed)
                     RETURNING draw_seed",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<Binary, _>(fresh.0.to_vec())
            })
            .await?;
        Ok(DrawSeed(hash_of(&seed.ok_or_else(|| impossible("no seed"))?)?))
    }

    async fn open_draw(&self, concert: ConcertId) -> Result<(), StoreError> {
        let _: Vec<bool> = self
            .for_lines()
            .rows(|| {
                statement::<Bool>(
                    "UPDATE lines SET draw_first = seq + 1, draw_last = seq + registered, seq = seq + registered
                     WHERE concert_id = $1 AND draw_last IS NULL AND registered > 0 RETURNING true",
                )
                .bind::<SqlUuid, _>(concert.0)
            })
            .await?;
        Ok(())
    }

    async fn draw_part(&self, concert: ConcertId, most: i64) -> Result<Option<(i64, i64)>, StoreError> {
        let mut tx = self.for_lines().begin().await?;
        let mine: Vec<bool> = tx
            .rows(
                statement::<Bool>("SELECT pg_try_advisory_xact_lock(hashtextextended('line draw ' || $1::text, 0))")
                    .bind::<SqlUuid, _>(concert.0),
            )
            .await?;
        if mine != [true] {
            tx.rollback().await?;
            return Ok(None);
        }
        let drawn: Vec<(i64, i64)> = tx
            .rows(
                statement::<(BigInt, BigInt)>(include_str!("sql/draw_part.sql"))
                    .bind::<SqlUuid, _>(concert.0)
                    .bind::<BigInt, _>(most),
            )
            .await?;
        tx.commit().await?;
        // Nothing is drawn before the numbers have been set aside.
        Ok(Some(drawn.into_iter().next().unwrap_or_default()))
    }

    async fn drawn(&self, concert: ConcertId, after: i64, most: i64) -> Result<Vec<(i64, Uuid)>, StoreError> {
        self.for_lines()
            .rows(|| {
                statement::<(BigInt, SqlUuid)>(
                    "SELECT p.number, p.place_id FROM lines l JOIN line_places_ever p ON p.concert_id = l.concert_id
                     WHERE l.concert_id = $1 AND p.number > $2 AND p.number BETWEEN l.draw_first AND l.draw_last
                     ORDER BY p.number LIMIT $3",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(after)
                .bind::<BigInt, _>(most)
            })
            .await
    }

    async fn draw(&self, concert: ConcertId) -> Result<Option<DrawView>, StoreError> {
        let row: Option<(Vec<u8>, bool, Option<i64>, Option<i64>)> = self
            .row(|| {
                statement::<(Binary, Bool, Nullable<BigInt>, Nullable<BigInt>)>(
                    "SELECT draw_seed, draw_finished_at IS NOT NULL, draw_first, draw_last FROM lines
                     WHERE concert_id = $1 AND draw_seed IS NOT NULL",
                )
                .bind::<SqlUuid, _>(concert.0)
            })
            .await?;
        let Some((seed, finished, first, last)) = row else { return Ok(None) };
        let seed = DrawSeed(hash_of(&seed)?);
        Ok(Some(DrawView {
            commitment: seed.commitment(),
            seed: finished.then_some(seed.0),
            first: first.unwrap_or(1),
            last: last.unwrap_or(0),
        }))
    }

    async fn finish_draw(&self, concert: ConcertId) -> Result<bool, StoreError> {
        let finished: Option<bool> = self
            .row(|| {
                statement::<Bool>(
                    "UPDATE lines SET draw_finished_at = CASE WHEN draw_seed IS NOT NULL THEN
                        coalesce(draw_finished_at, now()) END
                     WHERE concert_id = $1 AND (registered = 0 OR draw_last IS NOT NULL)
                        AND NOT EXISTS (
                            SELECT 1 FROM line_ballots WHERE concert_id = $1
                                AND (draw_key IS NULL OR (key, place_id) > (draw_key, draw_place)))
                     RETURNING true",
                )
                .bind::<SqlUuid, _>(concert.0)
            })
            .await?;
        Ok(finished.is_some())
    }
}
