//! What a line leaves behind, for reports and for anyone who checks it.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::{
    dsl::count_star,
    pg::Pg,
    prelude::*,
    sql_types::{BigInt, Nullable, Text, Uuid as SqlUuid},
};
use onsale_application::{
    audit::{AuditEntry, AuditRecord},
    error::StoreError,
    line::{DrawView, EstimateErrors, FanPlace, LineRecords, LoggedAdmission, PlaceWord},
    page::{Page, rows_for},
};
use onsale_domain::{
    ids::{ConcertId, UserId},
    queue::{DrawSeed, Eta, LogEntry, LogHash, LogKind},
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Postgres,
    audit::changes_from,
    line::hash_of,
    pool::impossible,
    schema::{audit_log, line_estimates, line_log, line_places_ever, lines},
    statement::sql,
    words::{Word, fixed},
};

fn kind_of(word: &str) -> Result<LogKind, StoreError> {
    LogKind::parse(word).ok_or_else(|| impossible("an unknown kind of log entry"))
}

/// An admission, when its fan joined, and what that fan was told.
#[derive(Queryable, Selectable)]
#[diesel(table_name = line_log, check_for_backend(Pg))]
struct AdmissionRow {
    index: i64,
    number: i64,
    at_ms: i64,
    #[diesel(select_expression = line_log::active.assume_not_null())]
    active: i64,
    #[diesel(select_expression = line_log::active_limit.assume_not_null())]
    active_limit: i64,
    #[diesel(select_expression = line_places_ever::joined_ms.nullable())]
    joined_ms: Option<i64>,
    #[diesel(select_expression = line_estimates::low_secs.nullable())]
    low_secs: Option<i64>,
    #[diesel(select_expression = line_estimates::high_secs.nullable())]
    high_secs: Option<i64>,
    #[diesel(select_expression = line_estimates::at_ms.nullable())]
    told_at_ms: Option<i64>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = line_log, check_for_backend(Pg))]
struct LogRow {
    index: i64,
    #[diesel(deserialize_as = Word<LogKind>)]
    kind: LogKind,
    number: i64,
    place_hash: Option<Vec<u8>>,
    at_ms: i64,
    hash: Vec<u8>,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct ErrorsRow {
    #[diesel(sql_type = BigInt)]
    checked: i64,
    #[diesel(sql_type = BigInt)]
    kept: i64,
    #[diesel(sql_type = BigInt)]
    p50_secs: i64,
    #[diesel(sql_type = BigInt)]
    p90_secs: i64,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
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

#[derive(Queryable, Selectable)]
#[diesel(table_name = audit_log, check_for_backend(Pg))]
struct AuditRow {
    id: i64,
    at: DateTime<Utc>,
    #[diesel(deserialize_as = Uuid)]
    actor_id: UserId,
    action: String,
    changes: Value,
}

impl AuditRow {
    fn record(self, concert: ConcertId) -> Result<AuditRecord, StoreError> {
        let Self { id, at, actor_id, action, changes } = self;
        let entry = AuditEntry { actor: actor_id, concert, action, changes: changes_from(changes)? };
        Ok(AuditRecord { id, at, entry })
    }
}

#[async_trait]
impl LineRecords for Postgres {
    async fn log(&self, concert: ConcertId, after: i64, most: i64) -> Result<Vec<(LogEntry, LogHash)>, StoreError> {
        let rows: Vec<LogRow> = self
            .read_all(|| {
                line_log::table
                    .filter(line_log::concert_id.eq(concert.0))
                    .filter(line_log::index.gt(after))
                    .order(line_log::index)
                    .limit(most)
                    .select(LogRow::as_select())
            })
            .await?;
        rows.into_iter()
            .map(|LogRow { index, kind, number, place_hash, at_ms, hash }| {
                let place = place_hash.as_deref().map(hash_of).transpose()?;
                Ok((LogEntry { index, kind, number, place, at_ms }, hash_of(&hash)?))
            })
            .collect()
    }

    async fn log_counts(&self, concert: ConcertId) -> Result<Vec<(LogKind, i64)>, StoreError> {
        let counts: Vec<(Word<LogKind>, i64)> = self
            .read_all(|| {
                line_log::table
                    .filter(line_log::concert_id.eq(concert.0))
                    .group_by(line_log::kind)
                    .select((line_log::kind, count_star()))
            })
            .await?;
        Ok(counts.into_iter().map(|(kind, count)| (kind.0, count)).collect())
    }

    async fn admissions_logged(
        &self,
        concert: ConcertId,
        after: i64,
        most: i64,
    ) -> Result<Vec<LoggedAdmission>, StoreError> {
        let rows: Vec<AdmissionRow> = self
            .read_all(|| {
                let place = line_places_ever::concert_id
                    .eq(line_log::concert_id)
                    .and(line_places_ever::number.eq(line_log::number));
                let estimate = line_estimates::concert_id
                    .eq(line_log::concert_id)
                    .and(line_estimates::number.eq(line_log::number));
                line_log::table
                    .left_join(line_places_ever::table.on(place))
                    .left_join(line_estimates::table.on(estimate))
                    .filter(line_log::concert_id.eq(concert.0))
                    .filter(line_log::kind.eq(fixed(LogKind::Admitted.as_str())))
                    .filter(line_log::index.gt(after))
                    .order(line_log::index)
                    .limit(most)
                    .select(AdmissionRow::as_select())
            })
            .await?;
        let logged = |row: AdmissionRow| {
            let eta = row.low_secs.zip(row.high_secs).map(|(low_secs, high_secs)| Eta { low_secs, high_secs });
            LoggedAdmission {
                index: row.index,
                number: row.number,
                at_ms: row.at_ms,
                active: row.active,
                limit: row.active_limit,
                joined_ms: row.joined_ms,
                told: eta.zip(row.told_at_ms),
            }
        };
        Ok(rows.into_iter().map(logged).collect())
    }

    async fn estimate_errors(&self, concert: ConcertId) -> Result<EstimateErrors, StoreError> {
        let row: Option<ErrorsRow> = self
            .read_one(|| sql(include_str!("sql/estimate_errors.sql")).bind::<SqlUuid, _>("concert_id", concert.0))
            .await?;
        let ErrorsRow { checked, kept, p50_secs, p90_secs } = row.ok_or_else(|| impossible("no estimates counted"))?;
        Ok(EstimateErrors { checked, kept, p50_secs, p90_secs })
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

    async fn places_of_fan(
        &self,
        user: UserId,
        before: Option<Uuid>,
        limit: usize,
    ) -> Result<Page<FanPlace, Uuid>, StoreError> {
        let rows: Vec<FanPlaceRow> = self
            .read_all(|| {
                sql(include_str!("sql/places_of_fan.sql"))
                    .bind::<SqlUuid, _>("user", user.0)
                    .bind::<Nullable<SqlUuid>, _>("before", before)
                    .bind::<BigInt, _>("limit", rows_for(limit))
            })
            .await?;
        let places = rows.into_iter().map(FanPlace::try_from).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(places, limit, |place| place.place_id))
    }

    async fn audit(
        &self,
        concert: ConcertId,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page<AuditRecord, i64>, StoreError> {
        let rows: Vec<AuditRow> = self
            .read_all(|| {
                audit_log::table
                    .filter(audit_log::concert_id.eq(concert.0))
                    .filter(audit_log::id.lt(before.unwrap_or(i64::MAX)))
                    .order(audit_log::id.desc())
                    .limit(rows_for(limit))
                    .select(AuditRow::as_select())
            })
            .await?;
        let records = rows.into_iter().map(|row| row.record(concert)).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(records, limit, |record| record.id))
    }
}
