//! Housekeeping.

use diesel::sql_types::{Array, BigInt, Bool, Uuid as SqlUuid};
use onsale_application::{error::StoreError, housekeeping::Sweeper};
use uuid::Uuid;

use super::{
    Postgres,
    statement::{Counted, sql},
};

impl Postgres {
    async fn move_past_places(&self, limit: i64) -> Result<i64, StoreError> {
        let sweep = sql(include_str!("sql/move_past_places.sql")).bind::<BigInt, _>("most", limit);
        let moved: Option<Counted> = self.for_lines().write_one(sweep).await?;
        Ok(moved.map_or(0, |moved| moved.count))
    }
}

impl Sweeper for Postgres {
    async fn sweep_holds(&self, limit: i64) -> Result<i64, StoreError> {
        let sweep = sql(include_str!("sql/end_overdue.sql"))
            .bind::<BigInt, _>("most", limit)
            .bind::<Bool, _>("in_the_way", false)
            .bind::<SqlUuid, _>("user_id", Uuid::nil())
            .bind::<SqlUuid, _>("show_id", Uuid::nil())
            .bind::<Array<SqlUuid>, _>("seat_ids", Vec::<Uuid>::new());
        let ended: Option<Counted> = self.write_one(sweep).await?;
        Ok(ended.map_or(0, |ended| ended.count))
    }

    async fn sweep_leftovers(&self, limit: i64) -> Result<i64, StoreError> {
        let sweep = sql(include_str!("sql/sweep_leftovers.sql")).bind::<BigInt, _>("most", limit);
        let deleted: Option<Counted> = self.write_one(sweep).await?;
        Ok(deleted.map_or(0, |deleted| deleted.count) + self.move_past_places(limit).await?)
    }
}
