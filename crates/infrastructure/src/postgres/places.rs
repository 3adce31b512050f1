//! The places of lines.

use std::sync::atomic::Ordering;

use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text, Uuid as SqlUuid};
use onsale_application::{
    error::StoreError,
    line::{Call, Joiner, Left, LineHead, LinePlaces, Place, QueueTicket, Stand, Taken},
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
    pool::{impossible, load, on_disk},
    statement::{Statement, statement},
};

type PlaceSql =
    ((BigInt, SqlUuid, SqlUuid, SqlUuid, BigInt), (Text, Bool, Nullable<BigInt>, Nullable<BigInt>, Bool, Bool));
type PlaceRow = ((i64, Uuid, Uuid, Uuid, i64), (String, bool, Option<i64>, Option<i64>, bool, bool));

/// Places `p` as rows of [`PlaceSql`].
macro_rules! place_query {
    ($rest:literal) => {
        place_query!("line_places", $rest)
    };
    ($table:literal, $rest:literal) => {
        concat!(
            "SELECT p.number, p.user_id, p.place_id, p.token_id, p.joined_ms,
                p.state, p.arrived_ms IS NOT NULL, p.last_end_ms, p.lapsed_ms, p.times > 1 OR p.state = 'back',
                p.ended_ms IS NOT NULL
             FROM ",
            $table,
            " p ",
            $rest
        )
    };
}

/// Whether ballot `b` of concert `$1` has no number yet.
macro_rules! undrawn {
    () => {
        // Found by the fan: the planner must not think of looking through all ballots.
        "(b.concert_id = $1) IS TRUE AND NOT EXISTS (
            SELECT 1 FROM lines l WHERE l.concert_id = $1 AND (b.key, b.place_id) <= (l.draw_key, l.draw_place))"
    };
}

fn place_from(row: PlaceRow) -> Result<Place, StoreError> {
    let ((number, user, place_id, token_id, joined_ms), (state, used, last_end_ms, lapsed_ms, came, over)) = row;
    let at = stand(&state, used, last_end_ms, lapsed_ms)?;
    Ok(Place { user_id: UserId(user), number, place_id, token_id, joined_ms, at, came, over })
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

fn ballot_from((user, place_id, joined_ms): (Uuid, Uuid, i64)) -> Place {
    Place {
        user_id: UserId(user),
        number: 0,
        place_id,
        token_id: place_id,
        joined_ms,
        at: Stand::Ballot,
        came: false,
        over: false,
    }
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
    async fn unless_in_the_way<R, U>(&self, statement: Statement<R>) -> Result<Vec<U>, StoreError>
    where
        U: Send,
        R: 'static,
        Statement<R>: diesel_async::methods::LoadQuery<'static, diesel_async::AsyncPgConnection, U> + Send + 'static,
    {
        let mut connection = self.connection().await?;
        let rows = load(&mut connection, statement).await.map_err(|error| {
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
        let join = statement::<BigInt>(include_str!("sql/join_new.sql"))
            .bind::<SqlUuid, _>(concert.0)
            .bind::<Array<SqlUuid>, _>(fans)
            .bind::<Array<SqlUuid>, _>(ids)
            .bind::<Binary, _>(batch_hash(joiners.iter().map(|joiner| joiner.id)).to_vec());
        let before = match self.for_joins().unless_in_the_way(join).await {
            Ok(rows) => rows.into_iter().next(),
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
        type Row = (Uuid, String, i64, Uuid, String, Option<i64>);
        if let Some(before) = self.join_new(concert, joiners).await? {
            let numbers = (before + 1..).map(Taken::New);
            return Ok(joiners.iter().map(|joiner| joiner.user_id).zip(numbers).collect());
        }
        let (fans, ids) = fans(joiners.iter().copied());
        let join =
            statement::<(SqlUuid, Text, BigInt, SqlUuid, Text, Nullable<BigInt>)>(include_str!("sql/join_line.sql"))
                .bind::<SqlUuid, _>(concert.0)
                .bind::<Array<SqlUuid>, _>(fans)
                .bind::<Array<SqlUuid>, _>(ids);
        let rows: Vec<Row> = self.for_joins().unless_in_the_way(join).await?;
        let taken = |(fan, outcome, number, id, state, last_end_ms): Row| {
            let taken = match outcome.as_str() {
                "new" => Taken::New(number),
                "known" => Taken::Known(number, stand(&state, true, last_end_ms, None)?),
                "ballot" => Taken::Ballot(false, id),
                other => refusal(other)?,
            };
            Ok((UserId(fan), taken))
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
        let register = statement::<(SqlUuid, Text, SqlUuid)>(include_str!("sql/register.sql"))
            .bind::<SqlUuid, _>(concert.0)
            .bind::<Array<SqlUuid>, _>(fans)
            .bind::<Array<SqlUuid>, _>(ids)
            .bind::<Array<BigInt>, _>(keys);
        let rows: Vec<(Uuid, String, Uuid)> = self.for_joins().unless_in_the_way(register).await?;
        let taken = |(fan, outcome, id): (Uuid, String, Uuid)| {
            let taken = match outcome.as_str() {
                "new" => Taken::Ballot(true, id),
                "known" => Taken::Ballot(false, id),
                other => refusal(other)?,
            };
            Ok((UserId(fan), taken))
        };
        rows.into_iter().map(taken).collect()
    }

    async fn leave(&self, concert: ConcertId, user: UserId, number: Option<i64>) -> Result<Left, StoreError> {
        let lines = self.for_lines();
        let left: Option<i64> = lines
            .row(|| {
                statement::<BigInt>(include_str!("sql/leave_line.sql"))
                    .bind::<SqlUuid, _>(concert.0)
                    .bind::<SqlUuid, _>(user.0)
                    .bind::<Nullable<BigInt>, _>(number)
            })
            .await?;
        if let Some(number) = left {
            return Ok(Left::Place(number));
        }
        if number.is_some() {
            return Ok(Left::Nothing);
        }
        let gone: Option<bool> = lines
            .row(|| {
                statement::<Bool>(include_str!("sql/withdraw.sql"))
                    .bind::<SqlUuid, _>(concert.0)
                    .bind::<SqlUuid, _>(user.0)
            })
            .await?;
        Ok(match gone {
            Some(true) => Left::Place(0),
            Some(false) => Left::BeingDrawn,
            None => Left::Nothing,
        })
    }

    // On the connections that buyers use: what strangers ask must not hold up ticks.
    async fn place_of(&self, concert: ConcertId, user: UserId, past: bool) -> Result<Option<Place>, StoreError> {
        let row: Option<PlaceRow> = self
            .row(|| {
                statement::<PlaceSql>(place_query!(
                    "line_places_ever",
                    "WHERE p.user_id = $2 AND uuid_send(p.concert_id) = uuid_send($1) AND ($3 OR p.ended_ms IS NULL)
                     ORDER BY p.ended_ms IS NULL DESC, p.number DESC LIMIT 1"
                ))
                .bind::<SqlUuid, _>(concert.0)
                .bind::<SqlUuid, _>(user.0)
                .bind::<Bool, _>(past)
            })
            .await?;
        let place = row.map(place_from).transpose()?;
        if place.is_some_and(|place| !place.over) {
            return Ok(place);
        }
        let ballot: Option<(Uuid, Uuid, i64)> = self
            .row(|| {
                statement::<(SqlUuid, SqlUuid, BigInt)>(concat!(
                    "SELECT user_id, place_id, joined_ms FROM line_ballots b WHERE b.user_id = $2 AND ",
                    undrawn!()
                ))
                .bind::<SqlUuid, _>(concert.0)
                .bind::<SqlUuid, _>(user.0)
            })
            .await?;
        Ok(ballot.map(ballot_from).or(place))
    }

    async fn head(&self, concert: ConcertId) -> Result<LineHead, StoreError> {
        let lines = self.for_lines();
        let read = async || -> Result<Option<(i64, i64, i64, bool, bool, i64)>, StoreError> {
            lines
                .row(|| {
                    statement::<(BigInt, BigInt, BigInt, Bool, Bool, BigInt)>(
                        "SELECT l.life, l.seq, l.passed, l.sold_out, b.there,
                            CASE WHEN b.there AND l.draw_last IS NOT NULL THEN coalesce((
                                SELECT max(p.number) FROM line_places p
                                WHERE p.concert_id = $1 AND p.number BETWEEN l.draw_first AND l.draw_last),
                                l.draw_first - 1) ELSE l.seq END
                         FROM lines l, LATERAL (
                            SELECT EXISTS (SELECT 1 FROM line_ballots WHERE concert_id = $1
                                AND (key, place_id) > (coalesce(l.draw_key, -1), coalesce(l.draw_place, $2)))) b (there)
                         WHERE l.concert_id = $1",
                    )
                    .bind::<SqlUuid, _>(concert.0)
                    .bind::<SqlUuid, _>(Uuid::nil())
                })
                .await
        };
        let mut row = read().await?;
        if row.is_none() {
            let _: Vec<bool> = lines
                .rows(|| {
                    statement::<Bool>(
                        "INSERT INTO lines (concert_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING true",
                    )
                    .bind::<SqlUuid, _>(concert.0)
                })
                .await?;
            row = read().await?;
        }
        let (life, seq, passed, sold_out, draws, whole) = row.ok_or_else(|| impossible("a line of no concert"))?;
        Ok(LineHead { life, seq, passed, sold_out, draws, whole })
    }

    async fn note_sold_out(&self, concert: ConcertId, sold_out: bool) -> Result<(), StoreError> {
        let _: Vec<bool> = self
            .for_lines()
            .rows(|| {
                statement::<Bool>("UPDATE lines SET sold_out = $2 WHERE concert_id = $1 RETURNING true")
                    .bind::<SqlUuid, _>(concert.0)
                    .bind::<Bool, _>(sold_out)
            })
            .await?;
        Ok(())
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
            .rows(|| {
                statement::<PlaceSql>(place_query!(
                    "WHERE p.concert_id = $1 AND p.number > $2 AND p.number <= $3
                        AND (p.ended_ms IS NULL OR p.number > $4)
                     ORDER BY p.number LIMIT $5"
                ))
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(after)
                .bind::<BigInt, _>(to)
                .bind::<BigInt, _>(beyond)
                .bind::<BigInt, _>(most)
            })
            .await?;
        if !rows.is_empty() {
            // The line's store hears of nothing that a crash of this database could undo.
            on_disk(&mut *self.for_lines().connection().await?).await?;
        }
        rows.into_iter().map(place_from).collect()
    }

    async fn ballots(
        &self,
        concert: ConcertId,
        after: Option<(BallotKey, Uuid)>,
        most: i64,
    ) -> Result<Vec<Place>, StoreError> {
        let (key, place) = after.map_or((-1, Uuid::nil()), |(key, place)| (key_sql(key), place));
        let rows: Vec<(Uuid, Uuid, i64)> = self
            .for_lines()
            .rows(|| {
                statement::<(SqlUuid, SqlUuid, BigInt)>(
                    "SELECT user_id, place_id, joined_ms FROM line_ballots
                     WHERE concert_id = $1 AND (key, place_id) > ($2, $3) ORDER BY key, place_id LIMIT $4",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(key)
                .bind::<SqlUuid, _>(place)
                .bind::<BigInt, _>(most)
            })
            .await?;
        Ok(rows.into_iter().map(ballot_from).collect())
    }

    async fn turns_over(&self, concert: ConcertId, turns: &[Call]) -> Result<Vec<(Call, bool)>, StoreError> {
        let rows: Vec<(i64, Uuid, bool)> = self
            .for_lines()
            .rows(|| {
                statement::<(BigInt, SqlUuid, Bool)>(
                    "SELECT t.number, t.fan, t.paid FROM (
                        SELECT t.number, t.fan, p.ended_ms IS NOT NULL AS over, EXISTS (
                            SELECT 1 FROM reservations r JOIN shows s ON s.id = r.show_id
                            WHERE r.user_id = t.fan AND s.concert_id = $1 AND r.turn = t.number AND r.state = 'paid') AS paid
                        FROM (SELECT $1 AS concert_id, * FROM unnest($2::bigint[], $3::uuid[]) u (number, fan) OFFSET 0) t
                        JOIN line_places p ON p.concert_id = t.concert_id AND p.number = t.number) t
                     WHERE t.over OR t.paid",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<Array<BigInt>, _>(turns.iter().map(|turn| turn.number).collect::<Vec<_>>())
                .bind::<Array<SqlUuid>, _>(turns.iter().map(|turn| turn.user_id.0).collect::<Vec<_>>())
            })
            .await?;
        Ok(rows.into_iter().map(|(number, fan, paid)| (Call { user_id: UserId(fan), number }, paid)).collect())
    }

    async fn admitted(&self, ticket: &QueueTicket) -> Result<Option<i64>, StoreError> {
        self.for_lines()
            .row(|| {
                statement::<BigInt>(
                    "SELECT number FROM line_places
                     WHERE user_id = $2 AND uuid_send(concert_id) = uuid_send($1) AND token_id = $3 AND state = 'active'
                        AND ended_ms IS NULL
                        AND last_end_ms > extract(epoch FROM now()) * 1000",
                )
                .bind::<SqlUuid, _>(ticket.concert_id.0)
                .bind::<SqlUuid, _>(ticket.user_id.0)
                .bind::<SqlUuid, _>(ticket.id)
            })
            .await
    }
}
