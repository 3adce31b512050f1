-- Ends a fan's live place because the fan leaves, with its entry of the published log.
-- The number is that of the place, or null for whichever it is.
-- One row (number), or none.
WITH line AS MATERIALIZED (
    SELECT passed, log_index, log_hash, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms
    FROM lines WHERE concert_id = :concert_id FOR UPDATE
), place AS (
    UPDATE line_places p SET ended_ms = line.now_ms,
        outcome = CASE WHEN p.state = 'waiting' THEN 'departed' ELSE 'left' END
    FROM line
    WHERE p.user_id = :fan AND uuid_send(p.concert_id) = uuid_send(:concert_id) AND p.ended_ms IS NULL
        AND p.number = coalesce(:number, p.number)
    RETURNING p.number, p.outcome, (p.outcome = 'departed' AND p.number > line.passed)::int AS departed
), sealed AS MATERIALIZED (
    SELECT line.log_index + 1 AS index, place.*, line.now_ms,
        line_log_seal(line.log_hash, line.log_index + 1, place.outcome, place.number, NULL, line.now_ms) AS hash
    FROM line, place
), logged AS (
    INSERT INTO line_log (concert_id, index, kind, number, at_ms, hash)
    SELECT :concert_id, index, outcome, number, now_ms, hash FROM sealed
), raised AS (
    UPDATE lines l SET log_index = sealed.index, log_hash = sealed.hash, departed = l.departed + sealed.departed
    FROM sealed WHERE l.concert_id = :concert_id
)
SELECT number FROM place
