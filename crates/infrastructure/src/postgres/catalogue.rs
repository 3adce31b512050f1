//! Concerts, shows and seats.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use diesel::{
    dsl::{self, IntervalDsl},
    pg::Pg,
    prelude::*,
    sql_types::{Array, BigInt, Bool, Integer, Jsonb, Text, Timestamptz, Uuid as SqlUuid},
};
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
use serde_json::Value;
use uuid::Uuid;

use super::{
    Postgres,
    audit::changes_of,
    error::{classify, is_unique_violation},
    functions::{clock_timestamp, pg_advisory_xact_lock},
    keyset::behind,
    pool::impossible,
    schema::{concerts, seats, shows},
    selling::show_lock,
    statement::{Counted, Sql, sql},
    stock::available,
    words::{Word, any_fixed, fixed},
};

#[derive(Queryable, Selectable)]
#[diesel(table_name = concerts, check_for_backend(Pg))]
struct ConcertRow {
    #[diesel(deserialize_as = Uuid)]
    id: ConcertId,
    title: String,
    description: String,
    #[diesel(deserialize_as = Word<SaleState>)]
    sale_state: SaleState,
    message: String,
    queue_policy: Value,
    version: i32,
}

fn policy_from(stored: Value) -> Result<QueuePolicy, StoreError> {
    serde_json::from_value(stored).map_err(|_| impossible("settings of a line that are none"))
}

fn policy_json(policy: &QueuePolicy) -> Value {
    // Numbers and booleans have no way to fail; the database refuses null.
    serde_json::to_value(policy).unwrap_or(Value::Null)
}

fn concert_from((row, next_show_at): (ConcertRow, Option<DateTime<Utc>>)) -> Result<Concert, StoreError> {
    Ok(Concert {
        id: row.id,
        details: ConcertDetails { title: row.title, description: row.description },
        sale_state: row.sale_state,
        policy: policy_from(row.queue_policy)?,
        message: row.message,
        next_show_at,
        version: row.version,
    })
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = shows, check_for_backend(Pg))]
struct ShowRow {
    #[diesel(deserialize_as = Uuid)]
    id: ShowId,
    #[diesel(deserialize_as = Uuid)]
    concert_id: ConcertId,
    #[diesel(select_expression = concerts::title)]
    concert_title: String,
    venue: String,
    starts_at: DateTime<Utc>,
    hold_secs: i32,
    seats_per_fan: i32,
    currency: String,
    version: i32,
}

impl From<ShowRow> for Show {
    fn from(row: ShowRow) -> Self {
        let ShowRow { venue, starts_at, hold_secs, seats_per_fan, .. } = row;
        Self {
            id: row.id,
            concert_id: row.concert_id,
            concert_title: row.concert_title,
            details: ShowDetails { venue, starts_at, hold_secs, seats_per_fan },
            currency: row.currency,
            version: row.version,
        }
    }
}

/// What came of an edit of a show.
#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct EditedShow {
    #[diesel(sql_type = Bool)]
    fits: bool,
    #[diesel(sql_type = Bool)]
    has_sales: bool,
    #[diesel(sql_type = Bool)]
    done: bool,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct TakenPlace {
    #[diesel(sql_type = Text)]
    section: String,
    #[diesel(sql_type = Text)]
    row_label: String,
    #[diesel(sql_type = Integer)]
    number: i32,
}

/// Gives a statement that saves a concert what it saves, and what the audit log says of it.
fn with_concert(statement: Sql, concert: &Concert, audit: &AuditEntry) -> Sql {
    statement
        .bind::<SqlUuid, _>("concert_id", concert.id.0)
        .bind::<Text, _>("title", concert.details.title.clone())
        .bind::<Text, _>("description", concert.details.description.clone())
        .bind::<Text, _>("sale_state", Word(concert.sale_state))
        .bind::<Text, _>("message", concert.message.clone())
        .bind::<Jsonb, _>("queue_policy", policy_json(&concert.policy))
        .bind::<SqlUuid, _>("actor_id", audit.actor.0)
        .bind::<Text, _>("action", audit.action.clone())
        .bind::<Jsonb, _>("changes", changes_of(audit))
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
        // All shows to come are behind this instant, whatever their concert.
        let start = after.map_or((now, Uuid::max()), |start| (start.at, start.id));
        let rows: Vec<(ConcertRow, Option<DateTime<Utc>>)> = self
            .read_all(|| {
                let next_show_at = dsl::min(shows::starts_at);
                concerts::table
                    .inner_join(shows::table)
                    .filter(concerts::sale_state.ne(Word(SaleState::Draft)))
                    .filter(shows::starts_at.gt(now))
                    .group_by(concerts::id)
                    .having(behind((next_show_at, concerts::id), start))
                    .order((next_show_at, concerts::id))
                    .limit(limit)
                    .select((ConcertRow::as_select(), next_show_at))
            })
            .await?;
        rows.into_iter().map(concert_from).collect()
    }

    async fn concert(&self, id: ConcertId, now: DateTime<Utc>) -> Result<Option<Concert>, StoreError> {
        let row: Option<(ConcertRow, Option<DateTime<Utc>>)> = self
            .read_one(|| {
                let next_show_at = shows::table
                    .filter(shows::concert_id.eq(concerts::id))
                    .filter(shows::starts_at.gt(now))
                    .order((shows::starts_at, shows::id))
                    .select(shows::starts_at)
                    .single_value();
                concerts::table.find(id.0).select((ConcertRow::as_select(), next_show_at))
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
        let start = after.filter(|start| start.at >= now).map_or((now, Uuid::max()), |start| (start.at, start.id));
        let rows: Vec<ShowRow> = self
            .read_all(|| {
                shows::table
                    .inner_join(concerts::table)
                    .filter(shows::concert_id.eq(concert.0))
                    .filter(behind((shows::starts_at, shows::id), start))
                    .order((shows::starts_at, shows::id))
                    .limit(limit)
                    .select(ShowRow::as_select())
            })
            .await?;
        Ok(rows.into_iter().map(Show::from).collect())
    }

    async fn show(&self, id: ShowId) -> Result<Option<(Show, SaleState)>, StoreError> {
        let row: Option<(ShowRow, Word<SaleState>)> = self
            .read_one(|| {
                shows::table
                    .inner_join(concerts::table)
                    .filter(shows::id.eq(id.0))
                    .select((ShowRow::as_select(), concerts::sale_state))
            })
            .await?;
        Ok(row.map(|(show, Word(state))| (show.into(), state)))
    }

    async fn insert_concert(&self, concert: &Concert, audit: &AuditEntry) -> Result<(), StoreError> {
        let insert = with_concert(sql(include_str!("sql/insert_concert.sql")), concert, audit);
        self.execute(insert).await.map(|_| ())
    }

    async fn update_concert(
        &self,
        concert: &Concert,
        expected: i32,
        audit: &AuditEntry,
    ) -> Result<Edit<()>, StoreError> {
        let update = with_concert(sql(include_str!("sql/update_concert.sql")), concert, audit)
            .bind::<Integer, _>("expected", expected);
        if self.execute(update).await? == 1 {
            return Ok(Edit::Done(()));
        }
        let found: Option<Uuid> = self.read_one(|| concerts::table.find(concert.id.0).select(concerts::id)).await?;
        Ok(if found.is_some() { Edit::VersionMismatch } else { Edit::NotFound })
    }

    async fn insert_show(&self, show: &Show) -> Result<bool, StoreError> {
        let insert = concerts::table
            .find(show.concert_id.0)
            .select((
                show.id.0.into_sql::<SqlUuid>(),
                concerts::id,
                show.details.venue.clone().into_sql::<Text>(),
                show.details.starts_at.into_sql::<Timestamptz>(),
                show.currency.clone().into_sql::<Text>(),
                show.details.hold_secs.into_sql::<Integer>(),
                show.details.seats_per_fan.into_sql::<Integer>(),
            ))
            .insert_into(shows::table)
            .into_columns((
                shows::id,
                shows::concert_id,
                shows::venue,
                shows::starts_at,
                shows::currency,
                shows::hold_secs,
                shows::seats_per_fan,
            ));
        Ok(self.execute(insert).await? == 1)
    }

    async fn update_show(&self, show: &Show, expected: i32) -> Result<ShowEdit, StoreError> {
        let mut tx = self.begin().await?;
        // Holds at the show share this lock. Its own statement, so that the next one sees the holds that were waited for.
        tx.execute(diesel::select(pg_advisory_xact_lock(show_lock(show.id)))).await?;
        let update = sql(include_str!("sql/update_show.sql"))
            .bind::<SqlUuid, _>("show_id", show.id.0)
            .bind::<Integer, _>("expected", expected)
            .bind::<Text, _>("venue", show.details.venue.clone())
            .bind::<Timestamptz, _>("starts_at", show.details.starts_at)
            .bind::<Integer, _>("hold_secs", show.details.hold_secs)
            .bind::<Integer, _>("seats_per_fan", show.details.seats_per_fan);
        let edited: Option<EditedShow> = tx.one(update).await?;
        tx.commit().await?;
        Ok(match edited {
            None => ShowEdit::NotFound,
            Some(EditedShow { done: true, .. }) => ShowEdit::Done,
            Some(EditedShow { fits: true, has_sales: true, .. }) => ShowEdit::HasSales,
            Some(_) => ShowEdit::VersionMismatch,
        })
    }

    async fn for_sale(&self, concert: ConcertId) -> Result<ForSale, StoreError> {
        let row: Option<(i64, i64, Option<i32>)> = self
            .read_one(|| {
                let seat = seats::id.nullable();
                let for_sale = seats::show_id.eq(shows::id).and(seats::state.ne(Word(SeatState::Blocked)));
                shows::table
                    .left_join(seats::table.on(for_sale))
                    .filter(shows::concert_id.eq(concert.0))
                    .filter(shows::starts_at.gt(dsl::now))
                    .select((
                        dsl::count(seat),
                        dsl::count(seat).aggregate_filter(available()),
                        dsl::max(shows::hold_secs),
                    ))
            })
            .await?;
        let (seats, available, longest_hold_secs) = row.unwrap_or_default();
        Ok(ForSale { seats, available, longest_hold_secs })
    }

    async fn insert_seats(&self, show: ShowId, seats: &[(Uuid, NewSeat)]) -> Result<SeatsAdded, StoreError> {
        let ids: Vec<Uuid> = seats.iter().map(|(id, _)| *id).collect();
        let sections = || seats.iter().map(|(_, seat)| seat.place.section.clone()).collect::<Vec<_>>();
        let rows = || seats.iter().map(|(_, seat)| seat.place.row.clone()).collect::<Vec<_>>();
        let numbers = || seats.iter().map(|(_, seat)| seat.place.number).collect::<Vec<_>>();
        let prices: Vec<i64> = seats.iter().map(|(_, seat)| seat.price.minor()).collect();
        let insert = sql(include_str!("sql/insert_seats.sql"))
            .bind::<SqlUuid, _>("show_id", show.0)
            .bind::<Array<SqlUuid>, _>("ids", ids)
            .bind::<Array<Text>, _>("sections", sections())
            .bind::<Array<Text>, _>("rows", rows())
            .bind::<Array<Integer>, _>("numbers", numbers())
            .bind::<Array<BigInt>, _>("prices", prices);
        let mut connection = self.connection().await?;
        match diesel_async::RunQueryDsl::get_result::<Counted>(insert, &mut *connection).await {
            Ok(Counted { count: 0 }) => Ok(SeatsAdded::NotFound),
            Ok(Counted { count }) => Ok(SeatsAdded::Added(usize::try_from(count).unwrap_or(0))),
            Err(error) if is_unique_violation(&error) => {
                drop(connection);
                let taken: Vec<TakenPlace> = self
                    .read_all(|| {
                        sql(include_str!("sql/taken_places.sql"))
                            .bind::<SqlUuid, _>("show_id", show.0)
                            .bind::<Array<Text>, _>("sections", sections())
                            .bind::<Array<Text>, _>("rows", rows())
                            .bind::<Array<Integer>, _>("numbers", numbers())
                            .bind::<BigInt, _>("most", PLACES_NAMED)
                    })
                    .await?;
                let place = |TakenPlace { section, row_label: row, number }| SeatPlace { section, row, number };
                Ok(SeatsAdded::PlaceTaken(taken.into_iter().map(place).collect()))
            }
            Err(error) => Err(classify(error)),
        }
    }

    async fn concerts_with_a_line(&self) -> Result<Vec<Concert>, StoreError> {
        let rows: Vec<ConcertRow> = self
            .read_all(|| {
                // As in the index `concerts_with_a_line`.
                let stages = SaleState::ALL.into_iter().filter(|stage| stage.admits_joins() || stage.promotes());
                let runs = concerts::sale_state.eq(any_fixed(stages.map(SaleState::as_str)));
                let closed = concerts::sale_state.eq(fixed(SaleState::Closed.as_str()));
                let yesterday = dsl::now.into_sql::<Timestamptz>() - 1.day();
                concerts::table
                    .filter(runs.or(closed.and(concerts::updated_at.gt(yesterday))))
                    .select(ConcertRow::as_select())
            })
            .await?;
        rows.into_iter().map(|row| concert_from((row, None))).collect()
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
    /// The database's clock.
    async fn clock(&self) -> Result<DateTime<Utc>, StoreError> {
        self.read_one(|| diesel::select(clock_timestamp())).await?.ok_or_else(|| impossible("no time"))
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = seats, check_for_backend(Pg))]
struct SeatRow {
    #[diesel(deserialize_as = Uuid)]
    id: SeatId,
    section: String,
    row_label: String,
    number: i32,
    price_minor: i64,
    #[diesel(deserialize_as = Word<SeatState>)]
    state: SeatState,
    held_until: Option<DateTime<Utc>>,
    version: i32,
}

impl SeatMapStore for Postgres {
    async fn load_seat_map(&self, show: ShowId) -> Result<Option<SeatMap>, StoreError> {
        let Some((found, sale_state)) = self.show(show).await? else { return Ok(None) };
        let as_of = self.clock().await?;
        let rows: Vec<SeatRow> = self
            .read_all(|| {
                seats::table
                    .filter(seats::show_id.eq(show.0))
                    .order((seats::section, seats::row_label, seats::number))
                    .select(SeatRow::as_select())
            })
            .await?;
        let read_by = self.clock().await?;
        let seat = |row: SeatRow| {
            let state = row.state.seen_at(row.held_until, read_by);
            let SeatRow { id, section, row_label: row, number, price_minor, version, .. } = row;
            SeatView { id, section, row, number, price_minor, state, version }
        };
        Ok(Some(SeatMap {
            show_id: show,
            concert_id: found.concert_id,
            currency: found.currency,
            public: sale_state.is_public(),
            as_of_us: as_of.timestamp_micros(),
            read_by_us: read_by.timestamp_micros(),
            seats: in_order(rows.into_iter().map(seat).collect()),
            past: SeatsPast::default(),
        }))
    }
}
