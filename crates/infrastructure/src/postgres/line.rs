//! What happens in lines: lives, turns, and the published log.

use std::collections::{BTreeMap, HashMap};

use diesel::{
    pg::Pg,
    prelude::*,
    sql_types::{Array, BigInt, Binary, Nullable, Text, Uuid as SqlUuid},
};
use onsale_application::{
    error::StoreError,
    line::{Call, HoldLeft, LineJournal, LineRecords, NewLife, News, OddEntry, Told, Totals, Written},
    transaction::{Transaction, UnitOfWork},
};
use onsale_domain::{
    ids::{ConcertId, UserId},
    queue::{LogEntry, LogHash, LogKind, place_hash},
    reservation::ReservationState,
};
use uuid::Uuid;

use super::{
    Postgres,
    pool::impossible,
    schema::{line_estimates, line_places, lines, reservations, shows},
    statement::sql,
    transaction::PostgresTx,
    words::fixed,
};

/// The end of a line's log, locked.
struct LogEnd {
    life: i64,
    index: i64,
    hash: LogHash,
    newest: (i64, i64),
}

/// What the events of one batch make of one place.
#[derive(Default)]
struct Fate {
    arrived_ms: Option<i64>,
    lapsed_ms: Option<i64>,
    state: Option<&'static str>,
    ended: Option<(i64, LogKind)>,
}

/// A part of the log, column by column.
#[derive(Default)]
struct Columns {
    index: Vec<i64>,
    kind: Vec<String>,
    number: Vec<i64>,
    place: Vec<Option<Vec<u8>>>,
    active: Vec<Option<i64>>,
    limit: Vec<Option<i64>>,
    at_ms: Vec<i64>,
    hash: Vec<Vec<u8>>,
}

pub(super) fn hash_of(bytes: &[u8]) -> Result<LogHash, StoreError> {
    bytes.try_into().map_err(|_| impossible("a hash of another length"))
}

impl Columns {
    /// Appends an entry; `crowd` is active fans and the limit, for an admission.
    fn push(&mut self, end: &mut LogEnd, kind: LogKind, number: i64, at_ms: i64, admitted: Option<(Uuid, i64, i64)>) {
        let place = admitted.map(|(id, ..)| place_hash(id));
        let entry = LogEntry { index: end.index + 1, kind, number, place, at_ms };
        (end.index, end.hash) = (entry.index, entry.seal(&end.hash));
        self.index.push(entry.index);
        self.kind.push(kind.as_str().to_owned());
        self.number.push(number);
        self.place.push(place.map(|hash| hash.to_vec()));
        self.active.push(admitted.map(|(_, active, _)| active));
        self.limit.push(admitted.map(|(.., limit)| limit));
        self.at_ms.push(at_ms);
        self.hash.push(end.hash.to_vec());
    }
}

impl Postgres {
    async fn log_end(tx: &mut PostgresTx, concert: ConcertId) -> Result<LogEnd, StoreError> {
        let end = lines::table
            .find(concert.0)
            .select((lines::life, lines::log_index, lines::log_hash, lines::event_ms, lines::event_counter))
            .for_update();
        let end: Option<(i64, i64, Vec<u8>, i64, i64)> = tx.one(end).await?;
        let (life, index, hash, ms, counter) = end.ok_or_else(|| impossible("a line without a life"))?;
        Ok(LogEnd { life, index, hash: hash_of(&hash)?, newest: (ms, counter) })
    }

    async fn apply_fates(
        tx: &mut PostgresTx,
        concert: ConcertId,
        fates: BTreeMap<i64, Fate>,
    ) -> Result<(), StoreError> {
        if fates.is_empty() {
            return Ok(());
        }
        let fates = || fates.iter();
        let ended = |fate: &Fate| fate.ended.map(|(at, _)| at);
        let outcome = |fate: &Fate| fate.ended.map(|(_, kind)| kind.as_str());
        let apply = sql(include_str!("sql/line_fates.sql"))
            .bind::<SqlUuid, _>("concert_id", concert.0)
            .bind::<Array<BigInt>, _>("numbers", fates().map(|(number, _)| *number).collect::<Vec<_>>())
            .bind::<Array<Nullable<BigInt>>, _>("arrived", fates().map(|(_, fate)| fate.arrived_ms).collect::<Vec<_>>())
            .bind::<Array<Nullable<BigInt>>, _>("lapsed", fates().map(|(_, fate)| fate.lapsed_ms).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>("states", fates().map(|(_, fate)| fate.state).collect::<Vec<_>>())
            .bind::<Array<Nullable<BigInt>>, _>("ended", fates().map(|(_, fate)| ended(fate)).collect::<Vec<_>>())
            .bind::<Array<Nullable<Text>>, _>("outcomes", fates().map(|(_, fate)| outcome(fate)).collect::<Vec<_>>());
        tx.execute(apply).await.map(|_| ())
    }

    async fn append(tx: &mut PostgresTx, concert: ConcertId, columns: Columns) -> Result<(), StoreError> {
        let append = sql(include_str!("sql/line_log_append.sql"))
            .bind::<SqlUuid, _>("concert_id", concert.0)
            .bind::<Array<BigInt>, _>("indexes", columns.index)
            .bind::<Array<Text>, _>("kinds", columns.kind)
            .bind::<Array<BigInt>, _>("numbers", columns.number)
            .bind::<Array<Nullable<Binary>>, _>("places", columns.place)
            .bind::<Array<Nullable<BigInt>>, _>("active", columns.active)
            .bind::<Array<Nullable<BigInt>>, _>("limits", columns.limit)
            .bind::<Array<BigInt>, _>("at_ms", columns.at_ms)
            .bind::<Array<Binary>, _>("hashes", columns.hash);
        tx.execute(append).await.map(|_| ())
    }

    /// Keeps entries that cannot be read for a person to look at.
    async fn set_aside(tx: &mut PostgresTx, concert: ConcertId, entries: &[&OddEntry]) -> Result<(), StoreError> {
        let keep = sql(include_str!("sql/line_set_aside.sql"))
            .bind::<SqlUuid, _>("concert_id", concert.0)
            .bind::<Array<BigInt>, _>("at_ms", entries.iter().map(|odd| odd.at_ms).collect::<Vec<_>>())
            .bind::<Array<BigInt>, _>("counters", entries.iter().map(|odd| odd.counter).collect::<Vec<_>>())
            // PostgreSQL's text has no zero byte.
            .bind::<Array<Text>, _>(
                "entries",
                entries.iter().map(|odd| odd.text.replace('\0', " ")).collect::<Vec<_>>(),
            );
        tx.execute(keep).await.map(|_| ())
    }

    /// Writes calls to their places; those that are written stay as they are. Answers the ids of places that were called now,
    /// by number, and who is called and over.
    async fn calls(
        tx: &mut PostgresTx,
        concert: ConcertId,
        news: &News,
        longest_ms: i64,
    ) -> Result<(HashMap<i64, Uuid>, Vec<Call>), StoreError> {
        let call = sql(include_str!("sql/line_calls.sql"))
            .bind::<SqlUuid, _>("concert_id", concert.0)
            .bind::<Array<BigInt>, _>("numbers", news.calls.iter().map(|call| call.number).collect::<Vec<_>>())
            .bind::<Array<SqlUuid>, _>("fans", news.calls.iter().map(|call| call.user_id.0).collect::<Vec<_>>())
            .bind::<BigInt, _>("now_ms", news.now_ms)
            .bind::<BigInt, _>("last_end_ms", news.now_ms + longest_ms);
        let called: Vec<CalledRow> = tx.all(call).await?;
        let (mut written, mut over) = (HashMap::new(), vec![]);
        for CalledRow { number, user_id, place_id } in called {
            match place_id {
                Some(place) => drop(written.insert(number, place)),
                None => over.push(Call { user_id, number }),
            }
        }
        Ok((written, over))
    }
}

/// Events that are not in the log yet, as entries, and what they make of admissions.
fn take_events(news: &News, end: &mut LogEnd, columns: &mut Columns) -> BTreeMap<i64, Fate> {
    let mut fates: BTreeMap<i64, Fate> = BTreeMap::new();
    let newest = end.newest;
    for event in news.events.iter().filter(|event| (event.at_ms, event.counter) > newest) {
        for &number in &event.numbers {
            columns.push(end, event.kind, number, event.at_ms, None);
            let fate = fates.entry(number).or_default();
            match event.kind {
                LogKind::Joined | LogKind::Admitted | LogKind::Departed => {}
                LogKind::Arrived => fate.arrived_ms = Some(event.at_ms),
                LogKind::Lapsed => (fate.state, fate.lapsed_ms) = (Some("lapsed"), Some(event.at_ms)),
                LogKind::Returned => fate.state = Some("back"),
                LogKind::Forfeited | LogKind::Expired | LogKind::Paid | LogKind::Left => {
                    fate.ended = Some((event.at_ms, event.kind));
                }
            }
        }
        end.newest = end.newest.max((event.at_ms, event.counter));
    }
    fates
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct CalledRow {
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = SqlUuid, deserialize_as = Uuid)]
    user_id: UserId,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    place_id: Option<Uuid>,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct LifeRow {
    #[diesel(sql_type = BigInt)]
    life: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = BigInt)]
    passed: i64,
    #[diesel(sql_type = BigInt)]
    last_call_ms: i64,
    #[diesel(sql_type = BigInt)]
    event_ms: i64,
    #[diesel(sql_type = BigInt)]
    event_counter: i64,
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct HoldRow {
    #[diesel(sql_type = SqlUuid, deserialize_as = Uuid)]
    user_id: UserId,
    #[diesel(sql_type = BigInt)]
    left_ms: i64,
}

impl From<HoldRow> for HoldLeft {
    fn from(HoldRow { user_id, left_ms }: HoldRow) -> Self {
        Self { user_id, left_ms }
    }
}

#[derive(Insertable)]
#[diesel(table_name = line_estimates)]
struct NewEstimate {
    concert_id: Uuid,
    number: i64,
    at_ms: i64,
    low_secs: i64,
    high_secs: i64,
}

impl LineJournal for Postgres {
    async fn begin_life(&self, concert: ConcertId) -> Result<NewLife, StoreError> {
        let lines = self.for_lines();
        let begin = sql(include_str!("sql/begin_life.sql")).bind::<SqlUuid, _>("concert_id", concert.0);
        let begun: Option<LifeRow> = lines.write_one(begin).await?;
        let LifeRow { life, seq, passed, last_call_ms, event_ms, event_counter } =
            begun.ok_or_else(|| impossible("a line of no concert"))?;
        let counted = lines.log_counts(concert).await?;
        let count =
            |kinds: &[LogKind]| counted.iter().filter(|(kind, _)| kinds.contains(kind)).map(|(_, count)| count).sum();
        let totals = Totals {
            promoted: count(&[LogKind::Admitted]),
            expired: count(&[LogKind::Expired]),
            lapsed: count(&[LogKind::Lapsed]),
            returned: count(&[LogKind::Returned]),
            left: count(&[LogKind::Left, LogKind::Paid, LogKind::Departed]),
            forfeited: count(&[LogKind::Forfeited]),
        };
        Ok(NewLife { life, seq, passed, last_call_ms, newest: (event_ms, event_counter), totals })
    }

    async fn paid_turns(&self, concert: ConcertId) -> Result<Vec<i64>, StoreError> {
        self.for_lines()
            .read_all(|| {
                let of_turn = line_places::concert_id
                    .eq(shows::concert_id)
                    .and(line_places::number.nullable().eq(reservations::turn));
                reservations::table
                    .inner_join(shows::table)
                    .inner_join(line_places::table.on(of_turn))
                    .filter(shows::concert_id.eq(concert.0))
                    .filter(reservations::state.eq(fixed(ReservationState::Paid.as_str())))
                    .filter(line_places::user_id.eq(reservations::user_id))
                    .filter(line_places::ended_ms.is_null())
                    .filter(line_places::state.eq(fixed("active")))
                    .select(line_places::number)
                    .distinct()
            })
            .await
    }

    async fn write(&self, concert: ConcertId, news: &News, longest_ms: i64) -> Result<Written, StoreError> {
        let mut tx = self.for_lines().begin().await?;
        let mut end = Self::log_end(&mut tx, concert).await?;
        if end.life != news.life {
            tx.rollback().await?;
            return Ok(Written::OtherLife);
        }
        // Somebody has written what happened after this news was read, so the calls in it may be over.
        if end.newest > news.newest {
            tx.rollback().await?;
            return Ok(Written::Stale);
        }
        let newest = end.newest;
        let odd: Vec<_> = news.odd_entries.iter().filter(|odd| (odd.at_ms, odd.counter) > newest).collect();
        if !odd.is_empty() {
            Self::set_aside(&mut tx, concert, &odd).await?;
        }
        let mut columns = Columns::default();
        let fates = take_events(news, &mut end, &mut columns);
        end.newest = end.newest.max(odd.iter().map(|odd| (odd.at_ms, odd.counter)).max().unwrap_or(newest));
        Self::apply_fates(&mut tx, concert, fates).await?;
        let (mut over, mut passed) = (vec![], 0);
        if !news.calls.is_empty() {
            let written;
            (written, over) = Self::calls(&mut tx, concert, news, longest_ms).await?;
            let mut calls: Vec<_> = written.into_iter().collect();
            calls.sort_unstable();
            for (number, place) in calls {
                passed = number;
                let crowd = (place, news.active, news.limit);
                columns.push(&mut end, LogKind::Admitted, number, news.now_ms, Some(crowd));
            }
        }
        if columns.index.is_empty() && odd.is_empty() {
            tx.rollback().await?;
            return Ok(Written::Done(over));
        }
        if !columns.index.is_empty() {
            Self::append(&mut tx, concert, columns).await?;
        }
        let move_on = sql(include_str!("sql/line_log_end.sql"))
            .bind::<SqlUuid, _>("concert_id", concert.0)
            .bind::<BigInt, _>("log_index", end.index)
            .bind::<Binary, _>("log_hash", end.hash.to_vec())
            .bind::<BigInt, _>("event_ms", end.newest.0)
            .bind::<BigInt, _>("event_counter", end.newest.1)
            .bind::<BigInt, _>("passed", passed);
        tx.execute(move_on).await?;
        tx.commit().await?;
        Ok(Written::Done(over))
    }

    async fn holds_of(&self, concert: ConcertId, fans: &[UserId]) -> Result<Vec<HoldLeft>, StoreError> {
        let rows: Vec<HoldRow> = self
            .read_all(|| {
                sql(include_str!("sql/live_holds_of.sql"))
                    .bind::<SqlUuid, _>("concert_id", concert.0)
                    .bind::<Array<SqlUuid>, _>("fans", fans.iter().map(|fan| fan.0).collect::<Vec<_>>())
            })
            .await?;
        Ok(rows.into_iter().map(HoldLeft::from).collect())
    }

    async fn holds(&self, concert: ConcertId, after: UserId, most: i64) -> Result<Vec<HoldLeft>, StoreError> {
        let rows: Vec<HoldRow> = self
            .read_all(|| {
                sql(include_str!("sql/live_holds.sql"))
                    .bind::<SqlUuid, _>("concert_id", concert.0)
                    .bind::<SqlUuid, _>("after", after.0)
                    .bind::<BigInt, _>("most", most)
            })
            .await?;
        Ok(rows.into_iter().map(HoldLeft::from).collect())
    }

    async fn note_told(&self, concert: ConcertId, at_ms: i64, told: &[Told]) -> Result<(), StoreError> {
        let new = |told: &Told| NewEstimate {
            concert_id: concert.0,
            number: told.number,
            at_ms,
            low_secs: told.eta.low_secs,
            high_secs: told.eta.high_secs,
        };
        let new: Vec<NewEstimate> = told.iter().map(new).collect();
        self.execute(diesel::insert_into(line_estimates::table).values(new).on_conflict_do_nothing()).await.map(|_| ())
    }
}
