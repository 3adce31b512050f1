//! What a line leaves behind, for reports and for anyone who checks it.

use chrono::DateTime;
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Binary, Nullable, Text, Uuid as SqlUuid},
};
use onsale_application::{
    error::StoreError,
    line::{EstimateErrors, FanPlace, LineRecordQueries, LoggedAdmission, PlaceWord},
};
use onsale_domain::{
    ids::{ConcertId, UserId},
    queue::{Eta, LogEntry, LogHash, LogKind},
};
use uuid::Uuid;

use super::{Postgres, line::hash_of, pool::impossible, sql::sql, statement::statement};

fn kind_of(word: &str) -> Result<LogKind, StoreError> {
    LogKind::parse(word).ok_or_else(|| impossible("an unknown kind of log entry"))
}

#[derive(QueryableByName)]
struct FanPlaceRow {
    #[diesel(sql_type = SqlUuid)]
    place_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    concert_id: Uuid,
    #[diesel(sql_type = Text)]
    title: String,
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    joined_ms: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    called_ms: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    ended_ms: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    outcome: Option<String>,
}

impl TryFrom<FanPlaceRow> for FanPlace {
    type Error = StoreError;

    fn try_from(row: FanPlaceRow) -> Result<Self, StoreError> {
        let at = |ms| DateTime::from_timestamp_millis(ms).ok_or_else(|| impossible("a time out of all calendars"));
        let outcome = row.outcome.as_deref().map(kind_of).transpose()?;
        Ok(Self {
            place_id: row.place_id,
            concert_id: ConcertId(row.concert_id),
            concert_title: row.title,
            number: row.number,
            state: PlaceWord::parse(&row.state).ok_or_else(|| impossible("an unknown state of a place"))?,
            joined_at: at(row.joined_ms)?,
            called_at: row.called_ms.map(at).transpose()?,
            ended: row.ended_ms.map(at).transpose()?.zip(outcome),
        })
    }
}

impl LineRecordQueries for Postgres {
    async fn places_of_fan(&self, user: UserId, before: Option<Uuid>, limit: i64) -> Result<Vec<FanPlace>, StoreError> {
        let rows: Vec<FanPlaceRow> = self
            .read_all(|| {
                sql(include_str!("sql/places_of_fan.sql"))
                    .bind::<SqlUuid, _>("user", user.0)
                    .bind::<Nullable<SqlUuid>, _>("before", before)
                    .bind::<BigInt, _>("limit", limit)
            })
            .await?;
        rows.into_iter().map(FanPlace::try_from).collect()
    }

    async fn admissions_logged(
        &self,
        concert: ConcertId,
        after: i64,
        most: i64,
    ) -> Result<Vec<LoggedAdmission>, StoreError> {
        type Row = ((i64, i64, i64, i64, i64), (Option<i64>, Option<i64>, Option<i64>, Option<i64>));
        let rows: Vec<Row> = self
            .rows(|| {
                statement::<(
                    (BigInt, BigInt, BigInt, BigInt, BigInt),
                    (Nullable<BigInt>, Nullable<BigInt>, Nullable<BigInt>, Nullable<BigInt>),
                )>(
                    "SELECT l.index, l.number, l.at_ms, l.active, l.active_limit, a.joined_ms, e.low_secs, e.high_secs,
                        e.at_ms
                     FROM line_log l
                     LEFT JOIN line_places_ever a ON a.concert_id = l.concert_id AND a.number = l.number
                     LEFT JOIN line_estimates e ON e.concert_id = l.concert_id AND e.number = l.number
                     WHERE l.concert_id = $1 AND l.kind = 'admitted' AND l.index > $2 ORDER BY l.index LIMIT $3",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(after)
                .bind::<BigInt, _>(most)
            })
            .await?;
        let logged = |((index, number, at_ms, active, limit), (joined_ms, low, high, told_at)): Row| {
            let eta = low.zip(high).map(|(low_secs, high_secs)| Eta { low_secs, high_secs });
            LoggedAdmission { index, number, at_ms, active, limit, joined_ms, told: eta.zip(told_at) }
        };
        Ok(rows.into_iter().map(logged).collect())
    }

    async fn estimate_errors(&self, concert: ConcertId) -> Result<EstimateErrors, StoreError> {
        let row: Option<(i64, i64, i64, i64)> = self
            .row(|| {
                statement::<(BigInt, BigInt, BigInt, BigInt)>(
                    "WITH tested AS (
                        SELECT greatest(e.low_secs - w.secs, w.secs - e.high_secs, 0) AS off
                        FROM line_estimates e
                        JOIN line_places_ever a ON a.concert_id = e.concert_id AND a.number = e.number
                        CROSS JOIN LATERAL (SELECT (a.called_ms - e.at_ms) / 1000 AS secs) w
                        WHERE e.concert_id = $1 AND a.times = 1 ORDER BY e.number DESC LIMIT 1000)
                     SELECT count(*), count(*) FILTER (WHERE off = 0),
                        coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY off), 0),
                        coalesce(percentile_disc(0.9) WITHIN GROUP (ORDER BY off), 0)
                     FROM tested",
                )
                .bind::<SqlUuid, _>(concert.0)
            })
            .await?;
        let (checked, kept, p50_secs, p90_secs) = row.unwrap_or_default();
        Ok(EstimateErrors { checked, kept, p50_secs, p90_secs })
    }

    async fn log_counts(&self, concert: ConcertId) -> Result<Vec<(LogKind, i64)>, StoreError> {
        let rows: Vec<(String, i64)> = self
            .rows(|| {
                statement::<(Text, BigInt)>("SELECT kind, count(*) FROM line_log WHERE concert_id = $1 GROUP BY kind")
                    .bind::<SqlUuid, _>(concert.0)
            })
            .await?;
        rows.into_iter().map(|(kind, count)| Ok((kind_of(&kind)?, count))).collect()
    }

    async fn log(&self, concert: ConcertId, after: i64, most: i64) -> Result<Vec<(LogEntry, LogHash)>, StoreError> {
        type Row = (i64, String, i64, Option<Vec<u8>>, i64, Vec<u8>);
        let rows: Vec<Row> = self
            .rows(|| {
                statement::<(BigInt, Text, BigInt, Nullable<Binary>, BigInt, Binary)>(
                    "SELECT index, kind, number, place_hash, at_ms, hash FROM line_log
                     WHERE concert_id = $1 AND index > $2 ORDER BY index LIMIT $3",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(after)
                .bind::<BigInt, _>(most)
            })
            .await?;
        rows.into_iter()
            .map(|(index, kind, number, place, at_ms, hash)| {
                let place = place.as_deref().map(hash_of).transpose()?;
                Ok((LogEntry { index, kind: kind_of(&kind)?, number, place, at_ms }, hash_of(&hash)?))
            })
            .collect()
    }
}
