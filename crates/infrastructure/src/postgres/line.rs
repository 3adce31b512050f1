//! The line in the database: lives and numbers, the admission log, and the opening draw.

use std::collections::{BTreeMap, HashSet};

use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use onsale_application::{
    error::StoreError,
    line::{
        Ceiling, DrawView, HoldLeft, LineJournal, LiveAdmission, NewLife, News, OddEntry, QueueTicket, Told, Verdict,
        Written, taken_at_ms,
    },
    transaction::{Transaction, UnitOfWork},
};
use onsale_domain::{
    ids::{ConcertId, UserId},
    queue::{DrawSeed, LogEntry, LogHash, LogKind, place_hash},
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

/// What the events of one batch make of one admission.
#[derive(Default)]
struct Fate {
    arrived_ms: Option<i64>,
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
        let (mut numbers, mut arrived, mut ended, mut outcomes) = (vec![], vec![], vec![], vec![]);
        for (number, fate) in fates {
            numbers.push(number);
            arrived.push(fate.arrived_ms);
            ended.push(fate.ended.map(|(at, _)| at));
            outcomes.push(fate.ended.map(|(_, kind)| kind.as_str().to_owned()));
        }
        let _: Vec<bool> = tx
            .rows(
                statement::<Bool>(
                    "UPDATE line_admissions a SET arrived_ms = coalesce(a.arrived_ms, e.arrived),
                        ended_ms = coalesce(e.ended, a.ended_ms), outcome = coalesce(e.outcome, a.outcome)
                     FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[]) e (number, arrived, ended, outcome)
                     WHERE a.concert_id = $1 AND a.number = e.number RETURNING true",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<Array<BigInt>, _>(numbers)
                .bind::<Array<Nullable<BigInt>>, _>(arrived)
                .bind::<Array<Nullable<BigInt>>, _>(ended)
                .bind::<Array<Nullable<Text>>, _>(outcomes),
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

    /// Writes the admissions of a batch; those that are written and not ended stay as they are.
    async fn admissions(
        tx: &mut PostgresTx,
        concert: ConcertId,
        news: &News,
        longest_ms: i64,
    ) -> Result<HashSet<i64>, StoreError> {
        let taken = news.calls.iter().map(|call| taken_at_ms(call.id)).collect::<Vec<_>>();
        let written: Vec<i64> = tx
            .rows(
                statement::<BigInt>(
                    "INSERT INTO line_admissions (concert_id, number, user_id, place_id, joined_ms, called_ms, last_end_ms)
                     SELECT $1, c.number, c.fan, c.place, c.joined, $6, $7
                     FROM unnest($2::bigint[], $3::uuid[], $4::uuid[], $5::bigint[]) c (number, fan, place, joined)
                     ON CONFLICT (concert_id, number) DO UPDATE SET user_id = excluded.user_id,
                        place_id = excluded.place_id, called_ms = excluded.called_ms, last_end_ms = excluded.last_end_ms,
                        arrived_ms = NULL, ended_ms = NULL, outcome = NULL, times = line_admissions.times + 1
                     WHERE line_admissions.ended_ms IS NOT NULL
                     RETURNING number",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<Array<BigInt>, _>(news.calls.iter().map(|call| call.number).collect::<Vec<_>>())
                .bind::<Array<SqlUuid>, _>(news.calls.iter().map(|call| call.user_id.0).collect::<Vec<_>>())
                .bind::<Array<SqlUuid>, _>(news.calls.iter().map(|call| call.id).collect::<Vec<_>>())
                .bind::<Array<BigInt>, _>(taken)
                .bind::<BigInt, _>(news.now_ms)
                .bind::<BigInt, _>(news.now_ms + longest_ms),
            )
            .await?;
        Ok(written.into_iter().collect())
    }
}

/// Events that are not in the log yet, as entries, and what they make of admissions.
fn take_events(news: &News, end: &mut LogEnd, columns: &mut Columns) -> BTreeMap<i64, Fate> {
    let mut fates: BTreeMap<i64, Fate> = BTreeMap::new();
    let newest = end.newest;
    for event in news.events.iter().filter(|event| (event.at_ms, event.counter) > newest) {
        for &number in &event.numbers {
            columns.push(end, event.kind, number, event.at_ms, None);
            match event.kind {
                LogKind::Admitted | LogKind::Departed => {}
                LogKind::Arrived => fates.entry(number).or_default().arrived_ms = Some(event.at_ms),
                ended => fates.entry(number).or_default().ended = Some((event.at_ms, ended)),
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
    async fn begin_life(&self, concert: ConcertId, lead: i64) -> Result<NewLife, StoreError> {
        type Row = ((i64, i64, Vec<i64>, i64, i64), (i64, Option<i64>, Option<i64>, i64, i64, i64));
        let row: Option<Row> = self
            .row(|| {
                statement::<(
                    (BigInt, BigInt, Array<BigInt>, BigInt, BigInt),
                    (BigInt, Nullable<BigInt>, Nullable<BigInt>, BigInt, BigInt, BigInt),
                )>(
                    "WITH before AS (
                        SELECT l.*, c.sale_state FROM concerts c LEFT JOIN lines l ON l.concert_id = c.id WHERE c.id = $1
                     ), planned AS (
                        -- An opening that the line's store has not heard of: the block begins at the ceiling.
                        SELECT coalesce(ceiling, 0) AS given_out, coalesce(registered, 0) AS registered,
                            coalesce(draw_before, ceiling) AS draw_before,
                            coalesce(draw_to, ceiling + registered) AS draw_to,
                            draw_finished_at IS NULL AND registered > 0 AND sale_state <> 'pre_queue' AS draws
                        FROM before
                     ), written AS (
                        INSERT INTO lines (concert_id, life, ceiling) SELECT $1, 1, $2
                        ON CONFLICT (concert_id) DO UPDATE SET life = lines.life + 1,
                            ceiling = lines.ceiling + $2 + lines.registered,
                            jumps = CASE WHEN lines.seen < lines.ceiling
                                THEN lines.jumps || ARRAY[lines.seen + 1, lines.ceiling] ELSE lines.jumps END,
                            draw_before = CASE WHEN (SELECT draws FROM planned)
                                THEN coalesce(lines.draw_before, lines.ceiling) ELSE lines.draw_before END,
                            draw_to = CASE WHEN (SELECT draws FROM planned)
                                THEN coalesce(lines.draw_to, lines.ceiling + lines.registered) ELSE lines.draw_to END
                        RETURNING life, ceiling, jumps, event_ms, event_counter, draw_done, draw_turn
                     )
                     SELECT w.life, p.given_out, w.jumps, w.ceiling,
                        coalesce((SELECT max(number) FROM line_admissions WHERE concert_id = $1), 0),
                        p.registered, CASE WHEN p.draws THEN coalesce(w.draw_done, p.draw_before) END,
                        CASE WHEN p.draws THEN p.draw_to END, w.event_ms, w.event_counter, w.draw_turn
                     FROM planned p, written w",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(lead)
            })
            .await?;
        let ((life, given_out, jumps, ceiling, served), (registered, draw_from, draw_to, ms, counter, draw_turn)) =
            row.ok_or_else(|| impossible("a line of no concert"))?;
        Ok(NewLife {
            life,
            // A process that was slower than another one saw the ceiling before that one's life.
            given_out: given_out.max(ceiling - lead - registered),
            jumps: jumps.chunks_exact(2).filter_map(|pair| Some((*pair.first()?, *pair.last()?))).collect(),
            ceiling,
            served,
            draw: draw_from.zip(draw_to),
            draw_turn,
            draw_key: None,
            newest: (ms, counter),
        })
    }

    async fn ceiling(&self, concert: ConcertId) -> Result<Ceiling, StoreError> {
        let row: Option<(i64, i64, i64, i64)> = self
            .row(|| {
                statement::<(BigInt, BigInt, BigInt, BigInt)>(
                    "SELECT life, ceiling, seen, registered FROM lines WHERE concert_id = $1",
                )
                .bind::<SqlUuid, _>(concert.0)
            })
            .await?;
        let (life, ceiling, seen, registered) = row.unwrap_or_default();
        Ok(Ceiling { life, ceiling, seen, registered })
    }

    async fn raise(&self, concert: ConcertId, to: Ceiling) -> Result<bool, StoreError> {
        let raised: Option<bool> = self
            .row(|| {
                statement::<Bool>(
                    "UPDATE lines SET ceiling = greatest(ceiling, $3), seen = greatest(seen, $4),
                        registered = greatest(registered, $5)
                     WHERE concert_id = $1 AND life = $2 RETURNING true",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(to.life)
                .bind::<BigInt, _>(to.ceiling)
                .bind::<BigInt, _>(to.seen)
                .bind::<BigInt, _>(to.registered)
            })
            .await?;
        Ok(raised.is_some())
    }

    async fn write(&self, concert: ConcertId, news: &News, longest_ms: i64) -> Result<Written, StoreError> {
        let mut tx = self.begin().await?;
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
        if !news.calls.is_empty() {
            let written = Self::admissions(&mut tx, concert, news, longest_ms).await?;
            let mut calls: Vec<_> = news.calls.iter().filter(|call| written.contains(&call.number)).collect();
            calls.sort_by_key(|call| call.number);
            for call in calls {
                let crowd = (call.id, news.active, news.limit);
                columns.push(&mut end, LogKind::Admitted, call.number, news.now_ms, Some(crowd));
            }
        }
        if columns.index.is_empty() && odd.is_empty() {
            tx.rollback().await?;
            return Ok(Written::Done);
        }
        if !columns.index.is_empty() {
            Self::append(&mut tx, concert, columns).await?;
        }
        let _: Vec<bool> = tx
            .rows(
                statement::<Bool>(
                    "UPDATE lines SET log_index = $2, log_hash = $3, event_ms = $4, event_counter = $5
                     WHERE concert_id = $1 RETURNING true",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(end.index)
                .bind::<Binary, _>(end.hash.to_vec())
                .bind::<BigInt, _>(end.newest.0)
                .bind::<BigInt, _>(end.newest.1),
            )
            .await?;
        tx.commit().await?;
        Ok(Written::Done)
    }

    async fn admitted(&self, ticket: &QueueTicket) -> Result<Option<i64>, StoreError> {
        let admitted: Option<i64> = self
            .row(|| {
                statement::<BigInt>(
                    "SELECT number FROM line_admissions
                     WHERE concert_id = $1 AND $2 IN (number, 0) AND user_id = $3 AND place_id = $4 AND ended_ms IS NULL
                        AND last_end_ms > extract(epoch FROM now()) * 1000",
                )
                .bind::<SqlUuid, _>(ticket.concert_id.0)
                .bind::<BigInt, _>(ticket.number)
                .bind::<SqlUuid, _>(ticket.user_id.0)
                .bind::<SqlUuid, _>(ticket.id)
            })
            .await?;
        Ok(admitted)
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

    async fn live_admissions(
        &self,
        concert: ConcertId,
        after: i64,
        most: i64,
    ) -> Result<Vec<LiveAdmission>, StoreError> {
        let rows: Vec<(Uuid, i64, Uuid, i64, bool, bool)> = self
            .rows(|| {
                statement::<(SqlUuid, BigInt, SqlUuid, BigInt, Bool, Bool)>(
                    "SELECT a.user_id, a.number, a.place_id, a.last_end_ms, a.arrived_ms IS NOT NULL, a.times > 1
                     FROM line_admissions a
                     WHERE a.concert_id = $1 AND a.number > $2 AND a.ended_ms IS NULL
                        -- Paid a moment ago, and the line's store was lost before that was written here.
                        AND NOT EXISTS (
                            SELECT 1 FROM reservations r JOIN shows s ON s.id = r.show_id
                            WHERE r.user_id = a.user_id AND s.concert_id = $1 AND r.turn = a.number AND r.state = 'paid')
                     ORDER BY a.number LIMIT $3",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(after)
                .bind::<BigInt, _>(most)
            })
            .await?;
        let live = |(user, number, id, last_end_ms, arrived, again)| LiveAdmission {
            user_id: UserId(user),
            number,
            id,
            last_end_ms,
            arrived,
            again,
        };
        Ok(rows.into_iter().map(live).collect())
    }

    async fn departed(&self, concert: ConcertId, after: i64, most: i64) -> Result<Vec<i64>, StoreError> {
        self.rows(|| {
            statement::<BigInt>(
                "SELECT number FROM line_log WHERE concert_id = $1 AND kind = 'departed' AND number > $2
                 ORDER BY number LIMIT $3",
            )
            .bind::<SqlUuid, _>(concert.0)
            .bind::<BigInt, _>(after)
            .bind::<BigInt, _>(most)
        })
        .await
    }

    async fn verdict(&self, concert: ConcertId, number: i64, return_ms: i64) -> Result<Verdict, StoreError> {
        // 0 when the place is over, 1 when the fan had come back, else until when the fan may.
        let may_return: Option<i64> = self
            .row(|| {
                statement::<BigInt>(
                    "SELECT CASE WHEN outcome = 'returned' THEN 1
                        WHEN outcome = 'lapsed' AND times < 2 AND ended_ms + $3 > extract(epoch FROM now()) * 1000
                            THEN ended_ms + $3
                        ELSE 0 END
                     FROM line_admissions WHERE concert_id = $1 AND number = $2
                     UNION ALL
                     -- Left while waiting or called.
                     (SELECT 0 FROM line_log
                      WHERE concert_id = $1 AND number = $2 AND kind IN ('departed', 'left', 'paid') LIMIT 1)
                     LIMIT 1",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(number)
                .bind::<BigInt, _>(return_ms)
            })
            .await?;
        Ok(match may_return {
            None => Verdict::Missed,
            Some(0) => Verdict::Over,
            Some(1) => Verdict::Returned,
            Some(until_ms) => Verdict::Lapsed { until_ms },
        })
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

    async fn draw_seed(&self, concert: ConcertId, fresh: DrawSeed) -> Result<DrawSeed, StoreError> {
        let seed: Option<Vec<u8>> = self
            .row(|| {
                statement::<Binary>(
                    "INSERT INTO lines (concert_id, draw_seed) VALUES ($1, $2)
                     ON CONFLICT (concert_id) DO UPDATE SET draw_seed = coalesce(lines.draw_seed, excluded.draw_seed)
                     RETURNING draw_seed",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<Binary, _>(fresh.0.to_vec())
            })
            .await?;
        Ok(DrawSeed(hash_of(&seed.ok_or_else(|| impossible("no seed"))?)?))
    }

    async fn open_draw(
        &self,
        concert: ConcertId,
        life: i64,
        block: (i64, i64),
    ) -> Result<Option<(i64, i64)>, StoreError> {
        let rows: Vec<(i64, i64)> = self
            .rows(|| {
                statement::<(BigInt, BigInt)>(
                    "UPDATE lines SET draw_before = coalesce(draw_before, $3), draw_to = greatest(draw_to, $4)
                     WHERE concert_id = $1 AND life = $2 RETURNING draw_before, draw_to",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(life)
                .bind::<BigInt, _>(block.0)
                .bind::<BigInt, _>(block.1)
            })
            .await?;
        Ok(rows.into_iter().next())
    }

    async fn write_draw(
        &self,
        concert: ConcertId,
        life: i64,
        after: i64,
        turn: i64,
        ballots: &[(UserId, Uuid)],
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        // What an earlier turn wrote behind `after` was not placed.
        let taken: Vec<bool> = tx
            .rows(
                statement::<Bool>(
                    "UPDATE lines SET draw_before = coalesce(draw_before, $3), draw_turn = $5, draw_done = $3 + $4
                     WHERE concert_id = $1 AND life = $2 AND $5 > draw_turn RETURNING true",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(life)
                .bind::<BigInt, _>(after)
                .bind::<BigInt, _>(i64::try_from(ballots.len()).unwrap_or(i64::MAX))
                .bind::<BigInt, _>(turn),
            )
            .await?;
        if taken.is_empty() {
            tx.rollback().await?;
            return Ok(false);
        }
        let _: Vec<bool> = tx
            .rows(
                statement::<Bool>("DELETE FROM line_ballots WHERE concert_id = $1 AND number > $2 RETURNING true")
                    .bind::<SqlUuid, _>(concert.0)
                    .bind::<BigInt, _>(after),
            )
            .await?;
        let _: Vec<i64> = tx
            .rows(
                statement::<BigInt>(
                    "WITH added AS (
                        INSERT INTO line_ballots (concert_id, number, user_id, place_id)
                        SELECT $1, $2 + b.place, b.fan, b.ballot
                        FROM unnest($3::uuid[], $4::uuid[]) WITH ORDINALITY b (fan, ballot, place) RETURNING 1)
                     SELECT count(*) FROM added",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(after)
                .bind::<Array<SqlUuid>, _>(ballots.iter().map(|(fan, _)| fan.0).collect::<Vec<_>>())
                .bind::<Array<SqlUuid>, _>(ballots.iter().map(|(_, ballot)| *ballot).collect::<Vec<_>>()),
            )
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn ballots(&self, concert: ConcertId, after: i64, most: i64) -> Result<Vec<(i64, UserId, Uuid)>, StoreError> {
        let rows: Vec<(i64, Uuid, Uuid)> = self
            .rows(|| {
                statement::<(BigInt, SqlUuid, SqlUuid)>(
                    "SELECT number, user_id, place_id FROM line_ballots WHERE concert_id = $1 AND number > $2
                     ORDER BY number LIMIT $3",
                )
                .bind::<SqlUuid, _>(concert.0)
                .bind::<BigInt, _>(after)
                .bind::<BigInt, _>(most)
            })
            .await?;
        Ok(rows.into_iter().map(|(number, fan, ballot)| (number, UserId(fan), ballot)).collect())
    }

    async fn drawn(&self, concert: ConcertId, ballot: Uuid) -> Result<Option<i64>, StoreError> {
        self.row(|| {
            statement::<BigInt>("SELECT number FROM line_ballots WHERE concert_id = $1 AND place_id = $2")
                .bind::<SqlUuid, _>(concert.0)
                .bind::<SqlUuid, _>(ballot)
        })
        .await
    }

    async fn draw(&self, concert: ConcertId) -> Result<Option<DrawView>, StoreError> {
        let row: Option<(Vec<u8>, bool, Option<i64>, Option<i64>)> = self
            .row(|| {
                statement::<(Binary, Bool, Nullable<BigInt>, Nullable<BigInt>)>(
                    "SELECT draw_seed, draw_finished_at IS NOT NULL, draw_before, draw_done FROM lines
                     WHERE concert_id = $1 AND draw_seed IS NOT NULL",
                )
                .bind::<SqlUuid, _>(concert.0)
            })
            .await?;
        let Some((seed, finished, before, done)) = row else { return Ok(None) };
        let seed = DrawSeed(hash_of(&seed)?);
        Ok(Some(DrawView {
            commitment: seed.commitment(),
            seed: finished.then_some(seed.0),
            first: before.unwrap_or(0) + 1,
            last: done.or(before).unwrap_or(0),
        }))
    }

    async fn finish_draw(&self, concert: ConcertId) -> Result<(), StoreError> {
        let _: Vec<chrono::DateTime<chrono::Utc>> = self
            .rows(|| {
                statement::<Timestamptz>(
                    "UPDATE lines SET draw_finished_at = now()
                     WHERE concert_id = $1 AND draw_seed IS NOT NULL AND draw_finished_at IS NULL
                     RETURNING draw_finished_at",
                )
                .bind::<SqlUuid, _>(concert.0)
            })
            .await?;
        Ok(())
    }
}
