//! The places of lines.

use std::sync::atomic::Ordering;

use diesel::{
    pg::Pg,
    prelude::*,
    sql_types::{Array, BigInt, Binary, Bool, Integer, Nullable, Text, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, methods::LoadQuery};
use onsale_application::{
    error::StoreError,
    line::{Call, Joiner, Left, LineHead, LinePlaces, Place, Stand, Taken, TokenClaims},
};
use onsale_domain::{
    concert::SaleState,
    ids::{ConcertId, UserId},
    queue::{BallotKey, batch_hash},
};
use uuid::Uuid;

use super::{
    Postgres,
    error::{classify, is_unique_violation},
    keyset::behind,
    pool::{impossible, on_disk},
    schema::{line_ballots, line_places, lines},
    statement::{Sql, sql},
};

/// A place, as the line's store hears of it.
#[derive(Queryable, Selectable, QueryableByName)]
#[diesel(table_name = line_places, check_for_backend(Pg))]
struct PlaceRow {
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = SqlUuid, deserialize_as = Uuid)]
    user_id: UserId,
    #[diesel(sql_type = SqlUuid)]
    place_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    token_id: Uuid,
    #[diesel(sql_type = BigInt)]
    joined_ms: i64,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Integer)]
    times: i32,
    #[diesel(sql_type = Nullable<BigInt>)]
    arrived_ms: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    last_end_ms: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    lapsed_ms: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    ended_ms: Option<i64>,
}

#[derive(Queryable, Selectable, QueryableByName)]
#[diesel(table_name = line_ballots, check_for_backend(Pg))]
struct BallotRow {
    #[diesel(sql_type = SqlUuid, deserialize_as = Uuid)]
    user_id: UserId,
    #[diesel(sql_type = SqlUuid)]
    place_id: Uuid,
    #[diesel(sql_type = BigInt)]
    joined_ms: i64,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct SeqRow {
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct JoinRow {
    #[diesel(sql_type = SqlUuid, deserialize_as = Uuid)]
    user_id: UserId,
    #[diesel(sql_type = Text)]
    outcome: String,
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    last_end_ms: Option<i64>,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct RegisterRow {
    #[diesel(sql_type = SqlUuid, deserialize_as = Uuid)]
    user_id: UserId,
    #[diesel(sql_type = Text)]
    outcome: String,
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct NumberRow {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct GoneRow {
    #[diesel(sql_type = Bool)]
    gone: bool,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct HeadRow {
    #[diesel(sql_type = BigInt)]
    life: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = BigInt)]
    passed: i64,
    #[diesel(sql_type = Bool)]
    sold_out: bool,
    #[diesel(sql_type = Bool)]
    draws: bool,
    #[diesel(sql_type = BigInt)]
    whole: i64,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct OverRow {
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = SqlUuid, deserialize_as = Uuid)]
    user_id: UserId,
    #[diesel(sql_type = Bool)]
    paid: bool,
}

fn place_from(row: &PlaceRow) -> Result<Place, StoreError> {
    let at = stand(&row.state, row.arrived_ms.is_some(), row.last_end_ms, row.lapsed_ms)?;
    Ok(Place {
        user_id: row.user_id,
        number: row.number,
        place_id: row.place_id,
        token_id: row.token_id,
        joined_ms: row.joined_ms,
        at,
        came: row.times > 1 || at == Stand::Back,
        over: row.ended_ms.is_some(),
    })
}

fn stand(state: &str, used: bool, last_end_ms: Option<i64>, lapsed_ms: Option<i64>) -> Result<Stand, StoreError> {
    Ok(match state {
        "waiting" => Stand::Waiting,
        "active" => Stand::Active { used, last_end_ms: last_end_ms.unwrap_or(0) },
        "lapsed" => Stand::Lapsed { since_ms: lapsed_ms.unwrap_or(0) },
        "back" => Stand::Back,
        _ => return Err(impossible("an unknown state of a place")),
    })
}

fn ballot_from(BallotRow { user_id, place_id, joined_ms }: BallotRow) -> Place {
    Place { user_id, number: 0, place_id, token_id: place_id, joined_ms, at: Stand::Ballot, came: false, over: false }
}

fn key_sql(key: BallotKey) -> i64 {
    i64::try_from(key.0).unwrap_or(i64::MAX)
}

/// What an outcome means that gave no place.
fn refusal(outcome: &str) -> Result<Taken, StoreError> {
    Ok(match outcome {
        "full" => Taken::Full,
        "sold_out" => Taken::SoldOut,
        "opening" => Taken::Opening,
        state => Taken::NotOpen(SaleState::parse(state).ok_or_else(|| impossible("an unknown outcome of joining"))?),
    })
}

fn fans(joiners: impl Iterator<Item = Joiner>) -> (Vec<Uuid>, Vec<Uuid>) {
    joiners.map(|joiner| (joiner.user_id.0, joiner.id)).unzip()
}

impl Postgres {
    /// Runs a statement that another process may be in the way of: then nothing was done. What was done is on disk.
    async fn unless_in_the_way<U>(&self, statement: Sql) -> Result<Vec<U>, StoreError>
    where
        U: Send,
        Sql: LoadQuery<'static, AsyncPgConnection, U>,
    {
        let mut connection = self.connection().await?;
        let rows: Result<Vec<U>, _> = diesel_async::RunQueryDsl::load(statement, &mut *connection).await;
        let rows = rows.map_err(|error| {
            if is_unique_violation(&error) { StoreError::Conflict(error.into()) } else { classify(error) }
        })?;
        on_disk(&mut connection).await?;
        Ok(rows)
    }
}

/// So many batches are not taken for new fans only after one was not.
const NOT_ALL_NEW: usize = 16;

impl Postgres {
    /// Joins fans of whom none has a place; `None` when that is not so, or when there is more to say.
    async fn join_new(&self, concert: ConcertId, joiners: &[Joiner]) -> Result<Option<i64>, StoreError> {
        let less = |skip: usize| skip.checked_sub(1);
        if self.not_all_new.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            return Ok(None);
        }
        let (fans, ids) = fans(joiners.iter().copied());
        let join = sql(include_str!("sql/join_new.sql"))
            .bind::<SqlUuid, _>("concert_id", concert.0)
            .bind::<Array<SqlUuid>, _>("fans", fans)
            .bind::<Array<SqlUuid>, _>("ids", ids)
            .bind::<Binary, _>("ids_hash", batch_hash(joiners.iter().map(|joiner| joiner.id)).to_vec());
        let before = match self.for_joins().unless_in_the_way::<SeqRow>(join).await {
            Ok(rows) => rows.into_iter().next().map(|row| row.seq),
            Err(StoreError::Conflict(_)) => None,
            Err(error) => return Err(error),
        };
        if before.is_none() {
            self.not_all_new.store(NOT_ALL_NEW, Ordering::Relaxed);
        }
        Ok(before)
    }
}

impl LinePlaces for Postgres {
    async fn join(&self, concert: ConcertId, joiners: &[Joiner]) -> Result<Vec<(UserId, Taken)>, StoreError> {
        if let Some(before) = self.join_new(concert, joiners).await? {
            let numbers = (before + 1..).map(Taken::New);
            return Ok(joiners.iter().map(|joiner| joiner.user_id).zip(numbers).collect());
        }
        let (fans, ids) = fans(joiners.iter().copied());
        let join = sql(include_str!("sql/join_line.sql"))
            .bind::<SqlUuid, _>("concert_id", concert.0)
            .bind::<Array<SqlUuid>, _>("fans", fans)
            .bind::<Array<SqlUuid>, _>("ids", ids);
        let rows: Vec<JoinRow> = self.for_joins().unless_in_the_way(join).await?;
        let taken = |JoinRow { user_id, outcome, number, id, state, last_end_ms }: JoinRow| {
            let taken = match outcome.as_str() {
                "new" => Taken::New(number),
                "known" => Taken::Known(number, stand(&state, true, last_end_ms, None)?),
                "ballot" => Taken::Ballot(false, id),
                other => refusal(other)?,
            };
            Ok((user_id, taken))
        };
        rows.into_iter().map(taken).collect()
    }

    async fn register(
        &self,
        concert: ConcertId,
        joiners: &[(Joiner, BallotKey)],
    ) -> Result<Vec<(UserId, Taken)>, StoreError> {
        let (fans, ids) = fans(joiners.iter().map(|(joiner, _)| *joiner));
        let keys = joiners.iter().map(|(_, key)| key_sql(*key)).collect::<Vec<_>>();
        let register = sql(include_str!("sql/register.sql"))
            .bind::<SqlUuid, _>("concert_id", concert.0)
            .bind::<Array<SqlUuid>, _>("fans", fans)
            .bind::<Array<SqlUuid>, _>("ids", ids)
            .bind::<Array<BigInt>, _>("keys", keys);
        let rows: Vec<RegisterRow> = self.for_joins().unless_in_the_way(register).await?;
        let taken = |RegisterRow { user_id, outcome, id }: RegisterRow| {
            let taken = match outcome.as_str() {
                "new" => Taken::Ballot(true, id),
                "known" => Taken::Ballot(false, id),
                other => refusal(other)?,
            };
            Ok((user_id, taken))
        };
        rows.into_iter().map(taken).collect()
    }

    async fn leave(&self, concert: ConcertId, user: UserId, number: Option<i64>) -> Result<Left, StoreError> {
        let lines = self.for_lines();
        let leave = sql(include_str!("sql/leave_line.sql"))
            .bind::<SqlUuid, _>("concert_id", concert.0)
            .bind::<SqlUuid, _>("fan", user.0)
            .bind::<Nullable<BigInt>, _>("number", number);
        let left: Option<NumberRow> = lines.write_one(leave).await?;
        if let Some(NumberRow { number }) = left {
            return Ok(Left::Place(number));
        }
        if number.is_some() {
            return Ok(Left::Nothing);
        }
        let withdraw = sql(include_str!("sql/withdraw.sql"))
            .bind::<SqlUuid, _>("concert_id", concert.0)
            .bind::<SqlUuid, _>("fan", user.0);
        let gone: Option<GoneRow> = lines.write_one(withdraw).await?;
        Ok(match gone {
            Some(GoneRow { gone: true }) => Left::Place(0),
            Some(GoneRow { gone: false }) => Left::BeingDrawn,
            None => Left::Nothing,
        })
    }

    // On the connections that buyers use: what strangers ask must not hold up ticks.
    async fn place_of(&self, concert: ConcertId, user: UserId, past: bool) -> Result<Option<Place>, StoreError> {
        let row: Option<PlaceRow> = self
            .read_one(|| {
                sql(include_str!("sql/place_of.sql"))
                    .bind::<SqlUuid, _>("concert_id", concert.0)
                    .bind::<SqlUuid, _>("fan", user.0)
                    .bind::<Bool, _>("past", past)
            })
            .await?;
        let place = row.as_ref().map(place_from).transpose()?;
        if place.is_some_and(|place| !place.over) {
            return Ok(place);
        }
        let ballot: Option<BallotRow> = self
            .read_one(|| {
                sql(include_str!("sql/ballot_of.sql"))
                    .bind::<SqlUuid, _>("concert_id", concert.0)
                    .bind::<SqlUuid, _>("fan", user.0)
            })
            .await?;
        Ok(ballot.map(ballot_from).or(place))
    }

    async fn head(&self, concert: ConcertId) -> Result<LineHead, StoreError> {
        let db = self.for_lines();
        let read = async || -> Result<Option<HeadRow>, StoreError> {
            db.read_one(|| sql(include_str!("sql/line_head.sql")).bind::<SqlUuid, _>("concert_id", concert.0)).await
        };
        let mut row = read().await?;
        if row.is_none() {
            let new = diesel::insert_into(lines::table).values(lines::concert_id.eq(concert.0));
            db.execute(new.on_conflict_do_nothing()).await?;
            row = read().await?;
        }
        let HeadRow { life, seq, passed, sold_out, draws, whole } =
            row.ok_or_else(|| impossible("a line of no concert"))?;
        Ok(LineHead { life, seq, passed, sold_out, draws, whole })
    }

    async fn note_sold_out(&self, concert: ConcertId, sold_out: bool) -> Result<(), StoreError> {
        let note = diesel::update(lines::table.find(concert.0)).set(lines::sold_out.eq(sold_out));
        self.for_lines().execute(note).await.map(|_| ())
    }

    async fn places(
        &self,
        concert: ConcertId,
        after: i64,
        to: i64,
        beyond: i64,
        most: i64,
    ) -> Result<Vec<Place>, StoreError> {
        let rows: Vec<PlaceRow> = self
            .for_lines()
            .read_all(|| {
                line_places::table
                    .filter(line_places::concert_id.eq(concert.0))
                    .filter(line_places::number.gt(after))
                    .filter(line_places::number.le(to))
                    .filter(line_places::ended_ms.is_null().or(line_places::number.gt(beyond)))
                    .order(line_places::number)
                    .limit(most)
                    .select(PlaceRow::as_select())
            })
            .await?;
        if !rows.is_empty() {
            // The line's store hears of nothing that a crash of this database could undo.
            on_disk(&mut *self.for_lines().connection().await?).await?;
        }
        rows.iter().map(place_from).collect()
    }

    async fn ballots(
        &self,
        concert: ConcertId,
        after: Option<(BallotKey, Uuid)>,
        most: i64,
    ) -> Result<Vec<Place>, StoreError> {
        let after = after.map_or((-1, Uuid::nil()), |(key, place)| (key_sql(key), place));
        let rows: Vec<BallotRow> = self
            .for_lines()
            .read_all(|| {
                line_ballots::table
                    .filter(line_ballots::concert_id.eq(concert.0))
                    .filter(behind((line_ballots::key, line_ballots::place_id), after))
                    .order((line_ballots::key, line_ballots::place_id))
                    .limit(most)
                    .select(BallotRow::as_select())
            })
            .await?;
        Ok(rows.into_iter().map(ballot_from).collect())
    }

    async fn turns_over(&self, concert: ConcertId, turns: &[Call]) -> Result<Vec<(Call, bool)>, StoreError> {
        let rows: Vec<OverRow> = self
            .for_lines()
            .read_all(|| {
                sql(include_str!("sql/turns_over.sql"))
                    .bind::<SqlUuid, _>("concert_id", concert.0)
                    .bind::<Array<BigInt>, _>("numbers", turns.iter().map(|turn| turn.number).collect::<Vec<_>>())
                    .bind::<Array<SqlUuid>, _>("fans", turns.iter().map(|turn| turn.user_id.0).collect::<Vec<_>>())
            })
            .await?;
        Ok(rows.into_iter().map(|OverRow { number, user_id, paid }| (Call { user_id, number }, paid)).collect())
    }

    async fn admitted(&self, claims: &TokenClaims) -> Result<Option<i64>, StoreError> {
        let row: Option<NumberRow> = self
            .for_lines()
            .read_one(|| {
                sql(include_str!("sql/admitted.sql"))
                    .bind::<SqlUuid, _>("concert_id", claims.concert_id.0)
                    .bind::<SqlUuid, _>("fan", claims.user_id.0)
                    .bind::<SqlUuid, _>("token_id", claims.id)
            })
            .await?;
        Ok(row.map(|row| row.number))
    }
}
