//! What happens in lines: lives, turns, and the published log.

use std::collections::{BTreeMap, HashMap};

use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text, Uuid as SqlUuid};
use onsale_application::{
    error::StoreError,
    line::{Call, HoldLeft, LineJournal, LineRecordQueries, NewLife, News, OddEntry, Told, Totals, Written},
    transaction::{Transaction, UnitOfWork},
};
use onsale_domain::{
    ids::{ConcertId, UserId},
    queue::{LogEntry, LogHash, LogKind, place_hash},
};
use uuid::Uuid;

use super::{Postgres, pool::impossible, statement::statement, transaction::PostgresTx};

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
        let rows: Vec<(i64, i64, Vec<u8>, i64, i64)> = tx
            .rows(
                statement::<(BigInt, BigInt, Binary, BigInt, BigInt)>(
                    "SELECT life, log_index, log_hash, event_ms, event_counter FROM lines WHERE concert_id = $1 FOR UPDATE",
                )
                .bind::<SqlUuid, _>(concert.0),
            )
            .await?;
        let (life, index, hash, ms, counter) =
            rows.into_iter().next().ok_or_else(|| impossible("a line without a life"))?;
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
        // As in `calls`: looked up by number, written where it is.
        let _: Vec<bool> = tx
            .rows(
                statement::<Bool>(
                    "UPDATE line_places p SET arrived_ms = coalesce(p.arrived_ms, e.arrived),
                        lapsed_ms = coalesce(e.lapsed, p.lapsed_ms), state = coalesce(e.state, p.state),
                        ended_ms = coalesce(p.ended_ms, e.ended), outcome = coalesce(p.outcome, e.outcome)
                     FROM (
                        SELECT f.*, p.spot FROM unnest(
                            $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::text[])
                            f (number, arrived, lapsed, state, ended, outcome), LATERAL (
                            -- Nobody has had a turn who was never called.
                            SELECT ctid AS spot FROM line_places
                            WHERE concert_id = $1 AND number = f.number AND called_ms IS NOT NULL LIMIT 1) p) e
                     WHERE p.ctid = e.spot RETURNING true",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<Array<BigInt>, _>(fates().map(|(number, _)| *number).collect::<Vec<_>>())
                .bind::<Array<Nullable<BigInt>>, _>(fates().map(|(_, fate)| fate.arrived_ms).collect::<Vec<_>>())
                .bind::<Array<Nullable<BigInt>>, _>(fates().map(|(_, fate)| fate.lapsed_ms).collect::<Vec<_>>())
                .bind::<Array<Nullable<Text>>, _>(fates().map(|(_, fate)| fate.state).collect::<Vec<_>>())
                .bind::<Array<Nullable<BigInt>>, _>(
                    fates().map(|(_, fate)| fate.ended.map(|(at, _)| at)).collect::<Vec<_>>(),
                )
                .bind::<Array<Nullable<Text>>, _>(
                    fates().map(|(_, fate)| fate.ended.map(|(_, kind)| kind.as_str())).collect::<Vec<_>>(),
                ),
            )
            .await?;
        Ok(())
    }

    async fn append(tx: &mut PostgresTx, concert: ConcertId, columns: Columns) -> Result<(), StoreError> {
        let _: Vec<bool> = tx
            .rows(
                statement::<Bool>(
                    "INSERT INTO line_log (concert_id, index, kind, number, place_hash, active, active_limit, at_ms, hash)
                     SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::bytea[], $6::bigint[],
                        $7::bigint[], $8::bigint[], $9::bytea[]) RETURNING true",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<Array<BigInt>, _>(columns.index)
                .bind::<Array<Text>, _>(columns.kind)
                .bind::<Array<BigInt>, _>(columns.number)
                .bind::<Array<Nullable<Binary>>, _>(columns.place)
                .bind::<Array<Nullable<BigInt>>, _>(columns.active)
                .bind::<Array<Nullable<BigInt>>, _>(columns.limit)
                .bind::<Array<BigInt>, _>(columns.at_ms)
                .bind::<Array<Binary>, _>(columns.hash),
            )
            .await?;
        Ok(())
    }

    /// Keeps entries that cannot be read for a person to look at.
    async fn set_aside(tx: &mut PostgresTx, concert: ConcertId, entries: &[&OddEntry]) -> Result<(), StoreError> {
        let _: Vec<bool> = tx
            .rows(
                statement::<Bool>(
                    "INSERT INTO line_odd_entries (concert_id, at_ms, counter, entry)
                     SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::text[])
                     ON CONFLICT DO NOTHING RETURNING true",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<Array<BigInt>, _>(entries.iter().map(|odd| odd.at_ms).collect::<Vec<_>>())
                .bind::<Array<BigInt>, _>(entries.iter().map(|odd| odd.counter).collect::<Vec<_>>())
                // PostgreSQL's text has no zero byte.
                .bind::<Array<Text>, _>(entries.iter().map(|odd| odd.text.replace('\0', " ")).collect::<Vec<_>>()),
            )
            .await?;
        Ok(())
    }

    /// Writes calls to their places; those that are written stay as they are. Answers the ids of places that were called now,
    /// by number, and who is called and over.
    async fn calls(
        tx: &mut PostgresTx,
        concert: ConcertId,
        news: &News,
        longest_ms: i64,
    ) -> Result<(HashMap<i64, Uuid>, Vec<Call>), StoreError> {
        // Each place is looked up by its number and written where it is, whatever the planner takes the table for.
        let called: Vec<(i64, Uuid, Option<Uuid>)> = tx
            .rows(
                statement::<(BigInt, SqlUuid, Nullable<SqlUuid>)>(
                    "WITH called AS MATERIALIZED (
                        SELECT c.*, p.spot, coalesce(p.lives, false) AS lives, coalesce(p.lives AND p.waits, false) AS waits
                        FROM unnest($2::bigint[], $3::uuid[]) c (number, fan) LEFT JOIN LATERAL (
                            SELECT ctid AS spot, user_id = c.fan AND ended_ms IS NULL AS lives, state IN ('waiting', 'back') AS waits
                            FROM line_places WHERE concert_id = $1 AND number = c.number LIMIT 1) p ON true
                     ), written AS (
                        UPDATE line_places p SET state = 'active', called_ms = $4, last_end_ms = $5, arrived_ms = NULL,
                            times = p.times + 1
                        FROM called c WHERE p.ctid = c.spot AND c.waits
                        RETURNING p.number, p.user_id, p.place_id
                     )
                     SELECT number, user_id, place_id FROM written
                     UNION ALL SELECT number, fan, NULL FROM called WHERE NOT lives",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<Array<BigInt>, _>(news.calls.iter().map(|call| call.number).collect::<Vec<_>>())
                .bind::<Array<SqlUuid>, _>(news.calls.iter().map(|call| call.user_id.0).collect::<Vec<_>>())
                .bind::<BigInt, _>(news.now_ms)
                .bind::<BigInt, _>(news.now_ms + longest_ms),
            )
            .await?;
        let (mut written, mut over) = (HashMap::new(), vec![]);
        for (number, fan, place) in called {
            match place {
                Some(place) => drop(written.insert(number, place)),
                None => over.push(Call { user_id: UserId(fan), number }),
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

type HoldSql = (SqlUuid, BigInt);

/// How long the live holds of some fans at concert `$1` last.
macro_rules! live_holds {
    ($of_fans:literal, $which:literal) => {
        concat!(
            "SELECT r.user_id, ceil(extract(epoch FROM max(r.expires_at) - clock_timestamp()) * 1000)::bigint
             FROM reservations r JOIN shows s ON s.id = r.show_id
             WHERE ",
            $of_fans,
            " AND s.concert_id = $1 AND r.state = 'held' AND r.expires_at > clock_timestamp()
             GROUP BY r.user_id ",
            $which
        )
    };
}

fn hold_left((fan, left_ms): (Uuid, i64)) -> HoldLeft {
    HoldLeft { user_id: UserId(fan), left_ms }
}

impl LineJournal for Postgres {
    async fn begin_life(&self, concert: ConcertId) -> Result<NewLife, StoreError> {
        let lines = self.for_lines();
        let row: Option<(i64, i64, i64, i64, i64, i64)> = lines
            .row(|| {
                statement::<(BigInt, BigInt, BigInt, BigInt, BigInt, BigInt)>(
                    "WITH begun AS (
                        INSERT INTO lines (concert_id, life) SELECT id, 1 FROM concerts WHERE id = $1
                        ON CONFLICT (concert_id) DO UPDATE SET life = lines.life + 1
                        RETURNING life, seq, passed, event_ms, event_counter)
                     SELECT life, seq, passed, coalesce((
                        SELECT called_ms FROM line_places WHERE concert_id = $1 AND number = begun.passed), 0),
                        event_ms, event_counter
                     FROM begun",
                )
                .bind::<SqlUuid, _>(concert.0)
            })
            .await?;
        let (life, seq, passed, last_call_ms, ms, counter) = row.ok_or_else(|| impossible("a line of no concert"))?;
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
        Ok(NewLife { life, seq, passed, last_call_ms, newest: (ms, counter), totals })
    }

    async fn paid_turns(&self, concert: ConcertId) -> Result<Vec<i64>, StoreError> {
        self.for_lines()
            .rows(|| {
                statement::<BigInt>(
                    "SELECT DISTINCT p.number FROM reservations r JOIN shows s ON s.id = r.show_id
                     JOIN line_places p ON p.concert_id = s.concert_id AND p.number = r.turn
                     WHERE s.concert_id = $1 AND r.state = 'paid' AND p.user_id = r.user_id AND p.ended_ms IS NULL
                        AND p.state = 'active'",
                )
                .bind::<SqlUuid, _>(concert.0)
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
        let _: Vec<bool> = tx
            .rows(
                statement::<Bool>(
                    "UPDATE lines SET log_index = $2, log_hash = $3, event_ms = $4, event_counter = $5,
                        passed = greatest(passed, $6),
                        -- Who left before the new highest number waits no more behind it.
                        departed = departed - (SELECT count(*) FROM line_places p
                            WHERE p.concert_id = lines.concert_id AND p.number > lines.passed AND p.number <= $6
                                AND p.ended_ms IS NOT NULL AND p.called_ms IS NULL)
                     WHERE concert_id = $1 RETURNING true",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(end.index)
                .bind::<Binary, _>(end.hash.to_vec())
                .bind::<BigInt, _>(end.newest.0)
                .bind::<BigInt, _>(end.newest.1)
                .bind::<BigInt, _>(passed),
            )
            .await?;
        tx.commit().await?;
        Ok(Written::Done(over))
    }

    async fn holds_of(&self, concert: ConcertId, fans: &[UserId]) -> Result<Vec<HoldLeft>, StoreError> {
        let rows: Vec<(Uuid, i64)> = self
            .rows(|| {
                statement::<HoldSql>(live_holds!("r.user_id = ANY($2::uuid[])", ""))
                    .bind::<SqlUuid, _>(concert.0)
                    .bind::<Array<SqlUuid>, _>(fans.iter().map(|fan| fan.0).collect::<Vec<_>>())
            })
            .await?;
        Ok(rows.into_iter().map(hold_left).collect())
    }

    async fn holds(&self, concert: ConcertId, after: UserId, most: i64) -> Result<Vec<HoldLeft>, StoreError> {
        let rows: Vec<(Uuid, i64)> = self
            .rows(|| {
                statement::<HoldSql>(live_holds!("r.user_id > $2", "ORDER BY r.user_id LIMIT $3"))
                    .bind::<SqlUuid, _>(concert.0)
                    .bind::<SqlUuid, _>(after.0)
                    .bind::<BigInt, _>(most)
            })
            .await?;
        Ok(rows.into_iter().map(hold_left).collect())
    }

    async fn note_told(&self, concert: ConcertId, at_ms: i64, told: &[Told]) -> Result<(), StoreError> {
        let _: Vec<bool> = self
            .rows(|| {
                statement::<Bool>(
                    "INSERT INTO line_estimates (concert_id, number, at_ms, low_secs, high_secs)
                     SELECT $1, t.number, $2, t.low, t.high FROM unnest($3::bigint[], $4::bigint[], $5::bigint[])
                        t (number, low, high)
                     ON CONFLICT DO NOTHING RETURNING true",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(at_ms)
                .bind::<Array<BigInt>, _>(told.iter().map(|told| told.number).collect::<Vec<_>>())
                .bind::<Array<BigInt>, _>(told.iter().map(|told| told.eta.low_secs).collect::<Vec<_>>())
                .bind::<Array<BigInt>, _>(told.iter().map(|told| told.eta.high_secs).collect::<Vec<_>>())
            })
            .await?;
        Ok(())
    }
}
