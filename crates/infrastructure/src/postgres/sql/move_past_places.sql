-- Moves places of one sale that closed long ago, whose line is ticked no more, and drops its ballots.
-- One row (count): how many were moved or dropped.
WITH past AS MATERIALIZED (
    SELECT c.id FROM concerts c
    WHERE c.sale_state = 'closed' AND c.updated_at < now() - interval '2 days'
        AND (EXISTS (SELECT 1 FROM line_places p WHERE p.concert_id = c.id)
            OR EXISTS (SELECT 1 FROM line_ballots b WHERE b.concert_id = c.id))
    LIMIT 1
), moved AS (
    DELETE FROM line_places p USING past, LATERAL (
        SELECT concert_id, number FROM line_places WHERE concert_id = past.id ORDER BY number LIMIT :most) few
    WHERE p.concert_id = few.concert_id AND p.number = few.number
    RETURNING p.*
), kept AS (
    INSERT INTO line_places_past SELECT * FROM moved
), ballots AS (
    DELETE FROM line_ballots b USING past, LATERAL (
        SELECT concert_id, user_id FROM line_ballots WHERE concert_id = past.id
        ORDER BY key, place_id LIMIT :most) few
    WHERE b.user_id = few.user_id AND b.concert_id = few.concert_id
    RETURNING 1
)
SELECT (SELECT count(*) FROM moved) + (SELECT count(*) FROM ballots) AS count
