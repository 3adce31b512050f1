-- Joins a line, a batch at a time: who has a live place takes it over (its token gets the new id), who has none gets the next
-- number, a row, and together an entry of the published log. All of it or nothing.
-- Each fan comes once, with a new id.
-- Rows of user_id, outcome, number, id (of the newest token), state of the place, last_end_ms; the outcome is 'new', 'known',
-- 'ballot' (still to be drawn), 'full', 'sold_out', 'opening' (its numbers must be set aside first) or a stage in which nobody
-- joins. Nothing of a fan when there is no row of the line, or when the place has just ended.
--
-- Prepared while the tables are empty, this is run when they have a million rows. So each fan is looked up by the index of
-- fans: "uuid_send(concert_id)" and "(concert_id = ...) IS TRUE" hide the other ones from the planner, and a place that is known is
-- updated where it is.
WITH asked AS MATERIALIZED (
    SELECT a.user_id, a.id, a.at, p.spot, p.number, b.place_id AS ballot
    FROM unnest(:fans::uuid[], :ids::uuid[]) WITH ORDINALITY AS a (user_id, id, at)
    LEFT JOIN LATERAL (
        SELECT p.ctid AS spot, p.number FROM line_places p
        WHERE p.user_id = a.user_id AND uuid_send(p.concert_id) = uuid_send(:concert_id) AND p.ended_ms IS NULL LIMIT 1) p ON true
    LEFT JOIN LATERAL (
        SELECT b.place_id FROM line_ballots b
        WHERE b.user_id = a.user_id AND (b.concert_id = :concert_id) IS TRUE AND NOT EXISTS (
            SELECT 1 FROM lines l WHERE l.concert_id = :concert_id AND (b.key, b.place_id) <= (l.draw_key, l.draw_place)) LIMIT 1) b ON true
), fresh AS MATERIALIZED (
    SELECT user_id, id, row_number() OVER (ORDER BY at) AS n FROM asked WHERE number IS NULL AND ballot IS NULL
), line AS MATERIALIZED (
    -- From here on numbers and log are ours, as they are now.
    SELECT l.seq, l.seq - l.passed - l.departed AS waiting, l.log_index, l.log_hash,
        (c.queue_policy ->> 'waiting_limit')::bigint AS waiting_limit,
        CASE WHEN c.sale_state NOT IN ('on_sale', 'paused') THEN c.sale_state
            WHEN l.registered > 0 AND l.draw_last IS NULL THEN 'opening'
            WHEN l.sold_out THEN 'sold_out' ELSE 'full' END AS otherwise
    FROM lines l JOIN concerts c ON c.id = l.concert_id
    WHERE l.concert_id = :concert_id
    FOR UPDATE OF l
), room AS MATERIALIZED (
    SELECT line.*, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms,
        CASE WHEN otherwise <> 'full' THEN 0
            ELSE greatest(0, least((SELECT count(*) FROM fresh), waiting_limit - waiting)) END AS given
    FROM line
), added AS (
    INSERT INTO line_places (concert_id, number, user_id, place_id, token_id, joined_ms)
    SELECT :concert_id, room.seq + fresh.n, fresh.user_id, fresh.id, fresh.id, room.now_ms
    FROM room JOIN fresh ON fresh.n <= room.given
    RETURNING user_id, number, token_id
), entry AS MATERIALIZED (
    SELECT room.log_index + 1 AS index, room.seq + room.given AS number, room.now_ms, room.log_hash AS before,
        (SELECT sha256(string_agg(uuid_send(fresh.id), ''::bytea ORDER BY fresh.n)) FROM fresh WHERE fresh.n <= room.given)
            AS places
    FROM room WHERE room.given > 0
), sealed AS MATERIALIZED (
    SELECT entry.*, line_log_seal(before, index, 'joined', number, places, now_ms) AS hash FROM entry
), logged AS (
    INSERT INTO line_log (concert_id, index, kind, number, place_hash, at_ms, hash)
    SELECT :concert_id, index, 'joined', number, places, now_ms, hash FROM sealed
), raised AS (
    UPDATE lines l SET seq = sealed.number, log_index = sealed.index, log_hash = sealed.hash FROM sealed
    WHERE l.concert_id = :concert_id
), moved AS (
    UPDATE line_places p SET token_id = a.id FROM line, asked a
    WHERE p.ctid = a.spot AND p.ended_ms IS NULL
    RETURNING p.user_id, p.number, p.token_id, p.state, p.last_end_ms
)
SELECT user_id, 'new' AS outcome, number, token_id AS id, 'waiting' AS state, NULL::bigint AS last_end_ms FROM added
UNION ALL SELECT user_id, 'known', number, token_id, state, last_end_ms FROM moved
UNION ALL SELECT user_id, 'ballot', 0, ballot, 'waiting', NULL FROM asked WHERE number IS NULL AND ballot IS NOT NULL
UNION ALL SELECT fresh.user_id, room.otherwise, 0, fresh.id, 'waiting', NULL FROM room JOIN fresh ON fresh.n > room.given
