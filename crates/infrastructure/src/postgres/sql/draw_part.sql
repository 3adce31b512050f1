-- The next part of the opening draw: the ballots with the smallest keys become places with the next numbers of the block.
-- One draws at a time (advisory lock of the caller's transaction); joins and polls go on.
-- One row (count, last): how many there were, and the last number drawn so far.
WITH block AS MATERIALIZED (
    SELECT draw_key, draw_place, coalesce((SELECT max(p.number) FROM line_places p
        WHERE p.concert_id = :concert_id AND p.number BETWEEN l.draw_first AND l.draw_last), l.draw_first - 1) AS done
    FROM lines l WHERE l.concert_id = :concert_id AND l.draw_last IS NOT NULL
), part AS MATERIALIZED (
    SELECT b.*, row_number() OVER (ORDER BY key, place_id) AS n FROM block, LATERAL (
        SELECT user_id, place_id, key, joined_ms FROM line_ballots
        WHERE concert_id = :concert_id
            AND (key, place_id) > (coalesce(draw_key, -1), coalesce(draw_place, '00000000-0000-0000-0000-000000000000'))
        ORDER BY key, place_id LIMIT :most) b
), added AS (
    INSERT INTO line_places (concert_id, number, user_id, place_id, token_id, joined_ms)
    SELECT :concert_id, block.done + part.n, part.user_id, part.place_id, part.place_id, part.joined_ms FROM block, part
), last AS (
    SELECT key, place_id FROM part ORDER BY n DESC LIMIT 1
), noted AS (
    UPDATE lines l SET draw_key = last.key, draw_place = last.place_id FROM last WHERE l.concert_id = :concert_id
)
SELECT (SELECT count(*) FROM part) AS count, done + (SELECT count(*) FROM part) AS last FROM block
