//! Concerts, shows and seats.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use onsale_application::{
    audit::AuditEntry,
    catalogue::{CatalogueStore, Concert, Edit, ForSale, PageStart, SeatsAdded, Show, ShowEdit},
    error::StoreError,
    seat_maps::{SeatMap, SeatMapStore, SeatView, SeatsPast},
    transaction::{Transaction, UnitOfWork},
};
use onsale_domain::{
    concert::{ConcertDetails, SaleState},
    ids::{ConcertId, SeatId, ShowId},
    queue::QueuePolicy,
    seat::{NewSeat, SeatPlace, SeatState, as_people_count},
    show::ShowDetails,
};
use uuid::Uuid;

use super::{
    Postgres,
    audit::with_audit,
    error::is_unique_violation,
    pool::impossible,
    selling::show_lock,
    statement::{Statement, statement},
};

type PolicySql = (Integer, Integer, Integer, Bool, Integer, Integer, Integer, Integer, Integer);
type PolicyRow = (i32, i32, i32, bool, i32, i32, i32, i32, i32);
type ConcertSql = (SqlUuid, Text, Text, Text, Text, PolicySql, Integer, Nullable<Timestamptz>);
type ConcertRow = (Uuid, String, String, String, String, PolicyRow, i32, Option<DateTime<Utc>>);

/// Columns of a concert `c` with its next show after `$1`.
macro_rules! concert_query {
    ($rest:literal) => {
        concat!(
            "SELECT c.id, c.title, c.description, c.sale_state, c.message, c.interval_secs, c.batch, c.active_limit,
                c.idle_admission, c.active_sliding_secs, c.active_absolute_secs, c.claim_secs, c.return_secs,
                c.waiting_limit, c.version, n.starts_at
             FROM concerts c
             LEFT JOIN LATERAL (
                SELECT s.starts_at FROM shows s WHERE s.concert_id = c.id AND s.starts_at > $1
                ORDER BY s.starts_at, s.id LIMIT 1) n ON true ",
            $rest
        )
    };
}

fn concert_from(row: ConcertRow) -> Result<Concert, StoreError> {
    let (id, title, description, state, message, policy, version, next_show_at) = row;
    let (interval_secs, batch, active_limit, idle_admission, sliding, absolute, claim, back, waiting) = policy;
    Ok(Concert {
        id: ConcertId(id),
        details: ConcertDetails { title, description },
        sale_state: SaleState::parse(&state).ok_or_else(|| impossible("an unknown sale state"))?,
        policy: QueuePolicy {
            interval_secs,
            batch,
            active_limit,
            idle_admission,
            active_sliding_secs: sliding,
            active_absolute_secs: absolute,
            claim_secs: claim,
            return_secs: back,
            waiting_limit: waiting,
        },
        message,
        next_show_at,
        version,
    })
}

type ShowSql = (SqlUuid, SqlUuid, Text, Timestamptz, Integer, Integer, Text, Integer);
type ShowRow = (Uuid, Uuid, String, DateTime<Utc>, i32, i32, String, i32);
type ShowAndStateSql = (SqlUuid, SqlUuid, Text, Timestamptz, Integer, Integer, Text, Integer, Text);
type ShowAndStateRow = (Uuid, Uuid, String, DateTime<Utc>, i32, i32, String, i32, String);

fn show_from(row: ShowRow) -> Show {
    let (id, concert, venue, starts_at, hold_secs, seats_per_fan, currency, version) = row;
    Show {
        id: ShowId(id),
        concert_id: ConcertId(concert),
        details: ShowDetails { venue, starts_at, hold_secs, seats_per_fan },
        currency,
        version,
    }
}

/// The values of a concert, from the title to the waiting limit.
fn with_concert(statement: Statement<Bool>, concert: &Concert) -> Statement<Bool> {
    let policy = &concert.policy;
    statement
        .bind::<Text, _>(concert.details.title.clone())
        .bind::<Text, _>(concert.details.description.clone())
        .bind::<Text, _>(concert.sale_state.as_str().to_owned())
        .bind::<Text, _>(concert.message.clone())
        .bind::<Integer, _>(policy.interval_secs)
        .bind::<Integer, _>(policy.batch)
        .bind::<Integer, _>(policy.active_limit)
        .bind::<Bool, _>(policy.idle_admission)
        .bind::<Integer, _>(policy.active_sliding_secs)
        .bind::<Integer, _>(policy.active_absolute_secs)
        .bind::<Integer, _>(policy.claim_secs)
        .bind::<Integer, _>(policy.return_secs)
        .bind::<Integer, _>(policy.waiting_limit)
}

impl Postgres {
    /// What a conditional UPDATE that returned this many rows means.
    async fn edited(&self, rows: usize, exists: &'static str, id: Uuid) -> Result<Edit<()>, StoreError> {
        if rows == 1 {
            return Ok(Edit::Done(()));
        }
        let found: Option<bool> = self.row(|| statement::<Bool>(exists).bind::<SqlUuid, _>(id)).await?;
        Ok(if found == Some(true) { Edit::VersionMismatch } else { Edit::NotFound })
    }
}

/// Most places that are named when they exist already.
const PLACES_NAMED: i64 = 10;

impl CatalogueStore for Postgres {
    async fn public_concerts(
        &self,
        now: DateTime<Utc>,
        after: Option<PageStart>,
        limit: i64,
    ) -> Result<Vec<Concert>, StoreError> {
        let rows: Vec<ConcertRow> = self
            .rows(|| {
                statement::<ConcertSql>(concert_query!(
                    "WHERE c.sale_state <> 'draft' AND n.starts_at IS NOT NULL
                        AND ($2::timestamptz IS NULL OR (n.starts_at, c.id) > ($2, $3))
                     ORDER BY n.starts_at, c.id LIMIT $4"
                ))
                .bind::<Timestamptz, _>(now)
                .bind::<Nullable<Timestamptz>, _>(after.map(|start| start.at))
                .bind::<Nullable<SqlUuid>, _>(after.map(|start| start.id))
                .bind::<BigInt, _>(limit)
            })
            .await?;
        rows.into_iter().map(concert_from).collect()
    }

    async fn concert(&self, id: ConcertId, now: DateTime<Utc>) -> Result<Option<Concert>, StoreError> {
        let row: Option<ConcertRow> = self
            .row(|| {
                statement::<ConcertSql>(concert_query!("WHERE c.id = $2"))
                    .bind::<Timestamptz, _>(now)
                    .bind::<SqlUuid, _>(id.0)
            })
            .await?;
        row.map(concert_from).transpose()
    }

    async fn shows(
        &self,
        concert: ConcertId,
        now: DateTime<Utc>,
        after: Option<PageStart>,
        limit: i64,
    ) -> Result<Vec<Show>, StoreError> {
        let rows: Vec<ShowRow> = self
            .rows(|| {
                statement::<ShowSql>(
                    "SELECT id, concert_id, venue, starts_at, hold_secs, seats_per_fan, currency::text, version
                     FROM shows
                     WHERE concert_id = $1 AND (starts_at, id) > ($2, $3)
                     ORDER BY starts_at, id LIMIT $4",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<Timestamptz, _>(after.map_or(now, |start| start.at.max(now)))
                .bind::<SqlUuid, _>(after.filter(|start| start.at >= now).map_or(Uuid::max(), |start| start.id))
                .bind::<BigInt, _>(limit)
            })
            .await?;
        Ok(rows.into_iter().map(show_from).collect())
    }

    async fn show(&self, id: ShowId) -> Result<Option<(Show, SaleState)>, StoreError> {
        let row: Option<ShowAndStateRow> = self
            .row(|| {
                statement::<ShowAndStateSql>(
                    "SELECT s.id, s.concert_id, s.venue, s.starts_at, s.hold_secs, s.seats_per_fan, s.currency::text,
                        s.version, c.sale_state
                     FROM shows s JOIN concerts c ON c.id = s.concert_id WHERE s.id = $1",
                )
                .bind::<SqlUuid, _>(id.0)
            })
            .await?;
        row.map(|(id, concert, venue, starts_at, hold_secs, seats_per_fan, currency, version, state)| {
            let state = SaleState::parse(&state).ok_or_else(|| impossible("an unknown sale state"))?;
            Ok((show_from((id, concert, venue, starts_at, hold_secs, seats_per_fan, currency, version)), state))
        })
        .transpose()
    }

    async fn insert_concert(&self, concert: &Concert, audit: &AuditEntry) -> Result<(), StoreError> {
        let _: Vec<bool> = self
            .rows(|| {
                let insert = statement::<Bool>(
                    "WITH added AS (
                        INSERT INTO concerts (id, title, description, sale_state, message, interval_secs, batch,
                            active_limit, idle_admission, active_sliding_secs, active_absolute_secs, claim_secs,
                            return_secs, waiting_limit)
                        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14))
                     INSERT INTO audit_log (concert_id, actor_id, action, changes) VALUES ($1, $15, $16, $17::jsonb)
                     RETURNING true",
                )
                .bind::<SqlUuid, _>(concert.id.0);
                with_audit(with_concert(insert, concert), audit)
            })
            .await?;
        Ok(())
    }

    async fn update_concert(
        &self,
        concert: &Concert,
        expected: i32,
        audit: &AuditEntry,
    ) -> Result<Edit<()>, StoreError> {
        let rows: Vec<bool> = self
            .rows(|| {
                let update = statement::<Bool>(
                    "WITH edited AS (
                        UPDATE concerts SET title = $3, description = $4, sale_state = $5, message = $6,
                            interval_secs = $7, batch = $8, active_limit = $9, idle_admission = $10,
                            active_sliding_secs = $11, active_absolute_secs = $12, claim_secs = $13, return_secs = $14,
                            waiting_limit = $15, version = version + 1, updated_at = now()
                        WHERE id = $1 AND version = $2 RETURNING id)
                     INSERT INTO audit_log (concert_id, actor_id, action, changes)
                     SELECT id, $16, $17, $18::jsonb FROM edited RETURNING true",
                )
                .bind::<SqlUuid, _>(concert.id.0)
                .bind::<Integer, _>(expected);
                with_audit(with_concert(update, concert), audit)
            })
            .await?;
        self.edited(rows.len(), "SELECT true FROM concerts WHERE id = $1", concert.id.0).await
    }

    async fn insert_show(&self, show: &Show) -> Result<bool, StoreError> {
        let added: Vec<bool> = self
            .rows(|| {
                statement::<Bool>(
                    "INSERT INTO shows (id, concert_id, venue, starts_at, currency, hold_secs, seats_per_fan)
                     SELECT $1, c.id, $3, $4, $5, $6, $7 FROM concerts c WHERE c.id = $2 RETURNING true",
                )
                .bind::<SqlUuid, _>(show.id.0)
                .bind::<SqlUuid, _>(show.concert_id.0)
                .bind::<Text, _>(show.details.venue.clone())
                .bind::<Timestamptz, _>(show.details.starts_at)
                .bind::<Text, _>(show.currency.clone())
                .bind::<Integer, _>(show.details.hold_secs)
                .bind::<Integer, _>(show.details.seats_per_fan)
            })
            .await?;
        Ok(!added.is_empty())
    }

    async fn update_show(&self, show: &Show, expected: i32) -> Result<ShowEdit, StoreError> {
        let mut tx = self.begin().await?;
        // Holds at the show share this lock. Its own statement, so that the next one sees the holds that were waited for.
        let lock =
            statement::<Bool>("SELECT true FROM pg_advisory_xact_lock($1)").bind::<BigInt, _>(show_lock(show.id));
        let _: Vec<bool> = tx.rows(lock).await?;
        let update = statement::<(Bool, Bool, Bool)>(
            "WITH before AS (
                SELECT version = $2 AS fits, starts_at <> $4 AND EXISTS (
                    SELECT 1 FROM seats WHERE show_id = $1
                        AND (state = 'sold' OR (state = 'held' AND held_until > clock_timestamp()))) AS has_sales
                FROM shows WHERE id = $1
             ), edited AS (
                UPDATE shows SET venue = $3, starts_at = $4, hold_secs = $5, seats_per_fan = $6, version = version + 1,
                    updated_at = now()
                FROM before WHERE id = $1 AND version = $2 AND NOT before.has_sales RETURNING 1
             )
             SELECT fits, has_sales, EXISTS (SELECT 1 FROM edited) FROM before",
        )
        .bind::<SqlUuid, _>(show.id.0)
        .bind::<Integer, _>(expected)
        .bind::<Text, _>(show.details.venue.clone())
        .bind::<Timestamptz, _>(show.details.starts_at)
        .bind::<Integer, _>(show.details.hold_secs)
        .bind::<Integer, _>(show.details.seats_per_fan);
        let rows: Vec<(bool, bool, bool)> = tx.rows(update).await?;
        tx.commit().await?;
        Ok(match rows.first() {
            None => ShowEdit::NotFound,
            Some((.., true)) => ShowEdit::Done,
            Some((true, true, _)) => ShowEdit::HasSales,
            Some(_) => ShowEdit::VersionMismatch,
        })
    }

    async fn for_sale(&self, concert: ConcertId) -> Result<ForSale, StoreError> {
        let row: Option<(i64, i64, Option<i32>)> = self
            .row(|| {
                statement::<(BigInt, BigInt, Nullable<Integer>)>(
                    "SELECT coalesce(sum(n.seats), 0)::bigint, coalesce(sum(n.available), 0)::bigint, max(h.hold_secs)
                     FROM shows h CROSS JOIN LATERAL (
                        SELECT count(*) AS seats, count(*) FILTER (WHERE s.state = 'available'
                            OR (s.state = 'held' AND s.held_until <= now())) AS available
                        FROM seats s WHERE s.show_id = h.id AND s.state <> 'blocked') n
                     WHERE h.concert_id = $1 AND h.starts_at > now()",
                )
                .bind::<SqlUuid, _>(concert.0)
            })
            .await?;
        let (seats, available, longest_hold_secs) = row.unwrap_or_default();
        Ok(ForSale { seats, available, longest_hold_secs })
    }

    async fn insert_seats(&self, show: ShowId, seats: &[(Uuid, NewSeat)]) -> Result<SeatsAdded, StoreError> {
        use diesel_async::RunQueryDsl;
        let ids: Vec<Uuid> = seats.iter().map(|(id, _)| *id).collect();
        let sections = || seats.iter().map(|(_, seat)| seat.place.section.clone()).collect::<Vec<_>>();
        let rows = || seats.iter().map(|(_, seat)| seat.place.row.clone()).collect::<Vec<_>>();
        let numbers = || seats.iter().map(|(_, seat)| seat.place.number).collect::<Vec<_>>();
        let prices: Vec<i64> = seats.iter().map(|(_, seat)| seat.price.minor()).collect();
        // One statement whatever the number of seats: columns go over as arrays.
        let query = statement::<BigInt>(
            "WITH added AS (
                INSERT INTO seats (id, show_id, section, row_label, number, price_minor)
                SELECT n.id, sh.id, n.section, n.row_label, n.number, n.price
                FROM shows sh, unnest($2::uuid[], $3::text[], $4::text[], $5::int[], $6::bigint[])
                    AS n(id, section, row_label, number, price)
                WHERE sh.id = $1
                RETURNING 1
             ) SELECT count(*) FROM added",
        )
        .bind::<SqlUuid, _>(show.0)
        .bind::<Array<SqlUuid>, _>(ids)
        .bind::<Array<Text>, _>(sections())
        .bind::<Array<Text>, _>(rows())
        .bind::<Array<Integer>, _>(numbers())
        .bind::<Array<BigInt>, _>(prices);
        let mut connection = self.connection().await?;
        match query.get_result::<i64>(&mut *connection).await {
            Ok(0) => Ok(SeatsAdded::NotFound),
            Ok(count) => Ok(SeatsAdded::Added(usize::try_from(count).unwrap_or(0))),
            Err(error) if is_unique_violation(&error) => {
                drop(connection);
                let taken: Vec<(String, String, i32)> = self
                    .rows(|| {
                        statement::<(Text, Text, Integer)>(
                            "SELECT section, row_label, number FROM seats
                             WHERE show_id = $1 AND (section, row_label, number) IN (
                                SELECT * FROM unnest($2::text[], $3::text[], $4::int[])) ORDER BY 1, 2, 3 LIMIT $5",
                        )
                        .bind::<SqlUuid, _>(show.0)
                        .bind::<Array<Text>, _>(sections())
                        .bind::<Array<Text>, _>(rows())
                        .bind::<Array<Integer>, _>(numbers())
                        .bind::<BigInt, _>(PLACES_NAMED)
                    })
                    .await?;
                let places = taken.into_iter().map(|(section, row, number)| SeatPlace { section, row, number });
                Ok(SeatsAdded::PlaceTaken(places.collect()))
            }
            Err(error) => Err(super::error::classify(error)),
        }
    }

    async fn concerts_with_a_line(&self) -> Result<Vec<Concert>, StoreError> {
        let rows: Vec<ConcertRow> = self
            .rows(|| {
                statement::<ConcertSql>(
                    "SELECT id, title, description, sale_state, message, interval_secs, batch, active_limit,
                        idle_admission, active_sliding_secs, active_absolute_secs, claim_secs, return_secs,
                        waiting_limit, version, NULL::timestamptz
                     FROM concerts WHERE sale_state IN ('pre_queue', 'on_sale', 'paused', 'draining')
                        OR (sale_state = 'closed' AND updated_at > now() - interval '1 day')",
                )
            })
            .await?;
        rows.into_iter().map(concert_from).collect()
    }
}

/// Seats that came in the order of an index, in the order in which people count. The seats of a row stay together, so a whole
/// arena costs the sorting of its rows.
fn in_order(seats: Vec<SeatView>) -> Vec<SeatView> {
    let mut rows: Vec<Vec<SeatView>> = Vec::new();
    for seat in seats {
        let of_row = |last: &&mut Vec<SeatView>| {
            last.first().is_some_and(|first| (&first.section, &first.row) == (&seat.section, &seat.row))
        };
        match rows.last_mut().filter(of_row) {
            Some(row) => row.push(seat),
            None => rows.push(vec![seat]),
        }
    }
    rows.sort_by(|one, other| match (one.first(), other.first()) {
        (Some(a), Some(b)) => as_people_count(&a.section, &b.section).then_with(|| as_people_count(&a.row, &b.row)),
        _ => Ordering::Equal,
    });
    rows.into_iter().flatten().collect()
}

impl Postgres {
    /// The database's clock, in microseconds since 1970.
    async fn clock_us(&self) -> Result<i64, StoreError> {
        let now: Option<i64> = self
            .row(|| statement::<BigInt>("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"))
            .await?;
        now.ok_or_else(|| impossible("no time"))
    }
}

type SeatSql = (SqlUuid, Text, Text, Integer, BigInt, Text, Bool, Integer);
type SeatRow = (Uuid, String, String, i32, i64, String, bool, i32);

impl SeatMapStore for Postgres {
    async fn load_seat_map(&self, show: ShowId) -> Result<Option<SeatMap>, StoreError> {
        let Some((found, sale_state)) = self.show(show).await? else { return Ok(None) };
        let as_of_us = self.clock_us().await?;
        let rows: Vec<SeatRow> = self
            .rows(|| {
                statement::<SeatSql>(
                    "SELECT id, section, row_label, number, price_minor, state,
                        state = 'held' AND held_until <= clock_timestamp(), version
                     FROM seats WHERE show_id = $1 ORDER BY section, row_label, number",
                )
                .bind::<SqlUuid, _>(show.0)
            })
            .await?;
        let read_by_us = self.clock_us().await?;
        let mut seats = Vec::with_capacity(rows.len());
        for (id, section, row, number, price_minor, state, overdue, version) in rows {
            let stored = SeatState::parse(&state).ok_or_else(|| impossible("an unknown seat state"))?;
            let state = if overdue { SeatState::Available } else { stored };
            seats.push(SeatView { id: SeatId(id), section, row, number, price_minor, state, version });
        }
        Ok(Some(SeatMap {
            show_id: show,
            concert_id: found.concert_id,
            currency: found.currency,
            public: sale_state.is_public(),
            as_of_us,
            read_by_us,
            seats: in_order(seats),
            past: SeatsPast::default(),
        }))
    }
}
