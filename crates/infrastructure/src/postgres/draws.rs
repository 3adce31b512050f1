//! Opening draws.

use chrono::{DateTime, Utc};
use diesel::{
    pg::Pg,
    prelude::*,
    sql_types::{BigInt, Binary, Bool, Uuid as SqlUuid},
};
use onsale_application::{
    error::StoreError,
    line::{DrawView, LineDraws},
    transaction::{Transaction, UnitOfWork},
};
use onsale_domain::{ids::ConcertId, queue::DrawSeed};
use uuid::Uuid;

use super::{
    Postgres,
    line::hash_of,
    pool::impossible,
    schema::{line_places_ever, lines},
    statement::sql,
};

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct SeedRow {
    #[diesel(sql_type = Binary)]
    draw_seed: Vec<u8>,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct LockRow {
    #[diesel(sql_type = Bool)]
    mine: bool,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct PartRow {
    #[diesel(sql_type = BigInt)]
    count: i64,
    #[diesel(sql_type = BigInt)]
    last: i64,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = lines, check_for_backend(Pg))]
struct DrawRow {
    #[diesel(select_expression = lines::draw_seed)]
    seed: Option<Vec<u8>>,
    #[diesel(select_expression = lines::draw_finished_at)]
    finished_at: Option<DateTime<Utc>>,
    #[diesel(select_expression = lines::draw_first)]
    first: Option<i64>,
    #[diesel(select_expression = lines::draw_last)]
    last: Option<i64>,
}

impl LineDraws for Postgres {
    async fn draw_seed(&self, concert: ConcertId, fresh: DrawSeed) -> Result<DrawSeed, StoreError> {
        let keep = sql(include_str!("sql/draw_seed.sql"))
            .bind::<SqlUuid, _>("concert_id", concert.0)
            .bind::<Binary, _>("seed", fresh.0.to_vec());
        let kept: Option<SeedRow> = self.write_one(keep).await?;
        Ok(DrawSeed(hash_of(&kept.ok_or_else(|| impossible("no seed"))?.draw_seed)?))
    }

    async fn open_draw(&self, concert: ConcertId) -> Result<(), StoreError> {
        let open = diesel::update(lines::table.find(concert.0))
            .filter(lines::draw_last.is_null())
            .filter(lines::registered.gt(0))
            .set((
                lines::draw_first.eq((lines::seq + 1).nullable()),
                lines::draw_last.eq((lines::seq + lines::registered).nullable()),
                lines::seq.eq(lines::seq + lines::registered),
            ));
        self.for_lines().execute(open).await.map(|_| ())
    }

    async fn draw_part(&self, concert: ConcertId, most: i64) -> Result<Option<(i64, i64)>, StoreError> {
        let mut tx = self.for_lines().begin().await?;
        let lock = sql(include_str!("sql/draw_lock.sql")).bind::<SqlUuid, _>("concert_id", concert.0);
        let lock: Option<LockRow> = tx.one(lock).await?;
        if !lock.is_some_and(|lock| lock.mine) {
            tx.rollback().await?;
            return Ok(None);
        }
        let draw = sql(include_str!("sql/draw_part.sql"))
            .bind::<SqlUuid, _>("concert_id", concert.0)
            .bind::<BigInt, _>("most", most);
        let drawn: Option<PartRow> = tx.one(draw).await?;
        tx.commit().await?;
        // Nothing is drawn before the numbers have been set aside.
        Ok(Some(drawn.map_or((0, 0), |part| (part.count, part.last))))
    }

    async fn drawn(&self, concert: ConcertId, after: i64, most: i64) -> Result<Vec<(i64, Uuid)>, StoreError> {
        self.for_lines()
            .read_all(|| {
                lines::table
                    .inner_join(line_places_ever::table.on(line_places_ever::concert_id.eq(lines::concert_id)))
                    .filter(lines::concert_id.eq(concert.0))
                    .filter(line_places_ever::number.gt(after))
                    .filter(line_places_ever::number.nullable().between(lines::draw_first, lines::draw_last))
                    .order(line_places_ever::number)
                    .limit(most)
                    .select((line_places_ever::number, line_places_ever::place_id))
            })
            .await
    }

    async fn draw(&self, concert: ConcertId) -> Result<Option<DrawView>, StoreError> {
        let row: Option<DrawRow> = self.read_one(|| lines::table.find(concert.0).select(DrawRow::as_select())).await?;
        let Some(DrawRow { seed: Some(seed), finished_at, first, last }) = row else {
            return Ok(None);
        };
        let seed = DrawSeed(hash_of(&seed)?);
        Ok(Some(DrawView {
            commitment: seed.commitment(),
            seed: finished_at.map(|_| seed.0),
            first: first.unwrap_or(1),
            last: last.unwrap_or(0),
        }))
    }

    async fn finish_draw(&self, concert: ConcertId) -> Result<bool, StoreError> {
        let finish = sql(include_str!("sql/finish_draw.sql")).bind::<SqlUuid, _>("concert_id", concert.0);
        Ok(self.execute(finish).await? > 0)
    }
}
