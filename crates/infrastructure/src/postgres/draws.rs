//! Opening draws.

use diesel::{
    pg::Pg,
    prelude::*,
    sql_types::{BigInt, Binary, Bool, Uuid as SqlUuid},
};
use onsale_application::{
    error::StoreError,
    line::LineDraws,
    transaction::{Transaction, UnitOfWork},
};
use onsale_domain::{ids::ConcertId, queue::DrawSeed};

use super::{Postgres, line::hash_of, pool::impossible, schema::lines, statement::sql};

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

    async fn finish_draw(&self, concert: ConcertId) -> Result<bool, StoreError> {
        let finish = sql(include_str!("sql/finish_draw.sql")).bind::<SqlUuid, _>("concert_id", concert.0);
        Ok(self.execute(finish).await? > 0)
    }
}
