-- Joins a line, a batch of fans of whom none has a place: the common case of join_line.sql at half its cost. All of it or nothing: a
-- fan who has a place violates line_places_one_live, and what needs a second look (no room for all, another stage, a draw that is
-- not over, nothing left) gives no row.
-- Each fan comes once, with a new id; ids_hash is the SHA-256 of these ids.
-- One row (seq): the number before the first of them; or none.
WITH line AS MATERIALIZED (
    -- From here on numbers and log are ours, as they are now.
    SELECT l.seq, l.log_index + 1 AS index, l.log_hash, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms
    FROM lines l JOIN concerts c ON c.id = l.concert_id
    WHERE l.concert_id = :concert_id AND c.sale_state IN ('on_sale', 'paused') AND NOT l.sold_out
        AND (l.registered = 0 OR l.draw_finished_at IS NOT NULL)
        AND l.seq - l.passed - l.departed + cardinality(:fans::uuid[]) <= (c.queue_policy ->> 'waiting_limit')::bigint
    FOR UPDATE OF l
), sealed AS MATERIALIZED (
    SELECT line.*, seq + cardinality(:fans) AS last,
        line_log_seal(log_hash, index, 'joined', seq + cardinality(:fans), :ids_hash, now_ms) AS hash
    FROM line
), added AS (
    INSERT INTO line_places (concert_id, number, user_id, place_id, token_id, joined_ms)
    SELECT :concert_id, sealed.seq + a.n, a.user_id, a.id, a.id, sealed.now_ms
    FROM sealed, unnest(:fans, :ids::uuid[]) WITH ORDINALITY AS a (user_id, id, n)
), logged AS (
    INSERT INTO line_log (concert_id, index, kind, number, place_hash, at_ms, hash)
    SELECT :concert_id, index, 'joined', last, :ids_hash, now_ms, hash FROM sealed
), raised AS (
    UPDATE lines l SET seq = sealed.last, log_index = sealed.index, log_hash = sealed.hash FROM sealed WHERE l.concert_id = :concert_id
)
SELECT seq FROM sealed
