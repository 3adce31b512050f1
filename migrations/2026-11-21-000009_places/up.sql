-- The line on disk: a place is a row before its fan hears of it. The store of the line (Redis) orders, limits and times, and
-- is loaded from here whenever it is in doubt.

CREATE TABLE line_places (
    concert_id  uuid   NOT NULL,
    -- 1, 2, 3... without a gap, for ever.
    number      bigint NOT NULL CHECK (number > 0),
    user_id     uuid   NOT NULL,
    -- For ever the same, also the ballot of an opening draw; and the id of the newest token, which taking the place over changes.
    place_id    uuid   NOT NULL,
    token_id    uuid   NOT NULL,
    state       text   NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'active', 'lapsed', 'back')),
    -- How often the number was called.
    times       int    NOT NULL DEFAULT 0,
    -- Milliseconds since 1970: joined, and left, by the clock of this database; called, used first, lapsed, ended otherwise, and
    -- the end of the turn at the latest, by the line's clock.
    joined_ms   bigint NOT NULL,
    called_ms   bigint,
    arrived_ms  bigint,
    lapsed_ms   bigint,
    last_end_ms bigint,
    ended_ms    bigint,
    outcome     text   CHECK (outcome IN ('forfeited', 'expired', 'paid', 'left', 'departed')),
    PRIMARY KEY (concert_id, number),
    CHECK ((ended_ms IS NULL) = (outcome IS NULL)),
    CHECK (state = 'waiting' OR called_ms IS NOT NULL)
    -- No foreign keys: joins come by the ten thousand a second, and who writes holds the row of the line.
) WITH (fillfactor = 85);
-- One live place per fan; places that are over are found by it too. The concert is in another form than in the primary key: a
-- planner that takes the table for empty, as it is a moment before a sale, must not come to the idea of looking through a whole
-- line for one fan.
CREATE UNIQUE INDEX line_places_one_live ON line_places
    (user_id, uuid_send(concert_id), (CASE WHEN ended_ms IS NULL THEN 0 ELSE number END));

-- What the version before knew: who was called, and the numbers of past draws. Fans who waited were in Redis only, so
-- upgrade between two sales.
WITH known AS (
    SELECT a.*, outcome IN ('lapsed', 'returned') AS may_return,
        row_number() OVER (PARTITION BY concert_id, user_id ORDER BY number DESC) = 1 AS newest
    FROM line_admissions a
)
INSERT INTO line_places (concert_id, number, user_id, place_id, token_id, state, times, joined_ms, called_ms, arrived_ms,
    lapsed_ms, last_end_ms, ended_ms, outcome)
SELECT concert_id, number, user_id, place_id, place_id,
    CASE outcome WHEN 'lapsed' THEN 'lapsed' WHEN 'returned' THEN 'back' ELSE 'active' END, times, joined_ms, called_ms,
    arrived_ms, CASE WHEN may_return THEN ended_ms END, last_end_ms,
    CASE WHEN newest AND (outcome IS NULL OR may_return) THEN NULL ELSE coalesce(ended_ms, last_end_ms) END,
    CASE WHEN newest AND (outcome IS NULL OR may_return) THEN NULL
        WHEN outcome IS NULL OR may_return THEN 'expired' ELSE outcome END
FROM known;
INSERT INTO line_places (concert_id, number, user_id, place_id, token_id, joined_ms, ended_ms, outcome)
SELECT concert_id, number, user_id, place_id, place_id, joined, joined, 'departed'
FROM line_ballots, LATERAL (SELECT ('x' || translate(left(place_id::text, 13), '-', ''))::bit(48)::bigint AS joined) j
ON CONFLICT DO NOTHING;

-- Places of sales that closed two days ago or more, moved here so that the table of running lines stays small; and both together,
-- for receipts, draws and reports.
CREATE TABLE line_places_past (LIKE line_places, PRIMARY KEY (concert_id, number));
CREATE INDEX line_places_past_of_fan ON line_places_past (user_id, concert_id);
CREATE VIEW line_places_ever AS SELECT * FROM line_places UNION ALL SELECT * FROM line_places_past;

-- Ballots of fans in a pre-queue. Up to the last one drawn (lines.draw_key, lines.draw_place) they are places by now.
DROP TABLE line_ballots;
CREATE TABLE line_ballots (
    concert_id uuid   NOT NULL,
    user_id    uuid   NOT NULL,
    place_id   uuid   NOT NULL,
    -- The first 52 bits of SHA-256(seed, ballot), which order the draw.
    key        bigint NOT NULL,
    joined_ms  bigint NOT NULL,
    PRIMARY KEY (user_id, concert_id)
);
CREATE UNIQUE INDEX line_ballots_in_order ON line_ballots (concert_id, key, place_id);

ALTER TABLE lines
    -- The last number given out.
    ADD COLUMN seq        bigint  NOT NULL DEFAULT 0,
    -- The highest number called.
    ADD COLUMN passed     bigint  NOT NULL DEFAULT 0,
    -- Places beyond it whose fans left: seq - passed - departed fans wait.
    ADD COLUMN departed   bigint  NOT NULL DEFAULT 0,
    ADD COLUMN sold_out   boolean NOT NULL DEFAULT false,
    -- The numbers of the opening draw; null before it.
    ADD COLUMN draw_first bigint,
    ADD COLUMN draw_last  bigint,
    -- The last ballot drawn.
    ADD COLUMN draw_key   bigint,
    ADD COLUMN draw_place uuid,
    ADD CONSTRAINT lines_passed_check CHECK (passed <= seq);
UPDATE lines SET seq = greatest(ceiling, seen),
    passed = coalesce((SELECT max(number) FROM line_places p WHERE p.concert_id = lines.concert_id), 0),
    draw_first = draw_before + 1, draw_last = coalesce(draw_done, draw_to), registered = 0;
ALTER TABLE lines
    DROP COLUMN ceiling,
    DROP COLUMN seen,
    DROP COLUMN jumps,
    DROP COLUMN draw_before,
    DROP COLUMN draw_to,
    DROP COLUMN draw_done,
    DROP COLUMN draw_turn;
-- Raised by each batch of joins: old versions are cleared away in the page that they are on.
ALTER TABLE lines SET (fillfactor = 20);
DROP TABLE line_admissions;

-- Joins are in the published log too: an entry for each batch, with its last number and the SHA-256 of its places' ids.
ALTER TABLE line_log
    DROP CONSTRAINT line_log_kind_check,
    ADD CONSTRAINT line_log_kind_check CHECK (kind IN (
        'joined', 'admitted', 'arrived', 'lapsed', 'returned', 'forfeited', 'expired', 'paid', 'left', 'departed')),
    DROP CONSTRAINT line_log_check,
    ADD CONSTRAINT line_log_check CHECK ((kind IN ('joined', 'admitted')) = (place_hash IS NOT NULL));
-- Who left is asked of the places.
DROP INDEX line_log_left;
-- The hash that seals an entry onto the log, as LogEntry::seal of the domain computes it, for statements that write an entry
-- themselves.
CREATE FUNCTION line_log_seal(before bytea, index bigint, kind text, number bigint, place bytea, at_ms bigint) RETURNS bytea
    LANGUAGE sql STABLE AS $$
    SELECT sha256(before || convert_to(
        index || '|' || kind || '|' || number || '|' || coalesce(encode(place, 'hex'), '') || '|' || at_ms, 'UTF8'))
$$;

-- Nobody waits any more for fans to show their tokens after a loss.
ALTER TABLE concerts DROP COLUMN recovery_hold_secs;
