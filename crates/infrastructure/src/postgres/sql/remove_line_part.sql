-- Removes a part of the line of a concert that nobody sees any more. The trigger that keeps the published log append-only is off.
-- Rows of what, count.
WITH places AS (
    DELETE FROM line_places p USING (
        SELECT number FROM line_places WHERE concert_id = :concert_id ORDER BY number LIMIT :most) few
    WHERE p.concert_id = :concert_id AND p.number = few.number RETURNING 1
), past AS (
    DELETE FROM line_places_past p USING (
        SELECT number FROM line_places_past WHERE concert_id = :concert_id ORDER BY number LIMIT :most) few
    WHERE p.concert_id = :concert_id AND p.number = few.number RETURNING 1
), ballots AS (
    DELETE FROM line_ballots b USING (
        SELECT user_id FROM line_ballots WHERE concert_id = :concert_id ORDER BY key, place_id LIMIT :most) few
    WHERE b.concert_id = :concert_id AND b.user_id = few.user_id RETURNING 1
), log AS (
    DELETE FROM line_log l USING (
        SELECT index FROM line_log WHERE concert_id = :concert_id ORDER BY index LIMIT :most) few
    WHERE l.concert_id = :concert_id AND l.index = few.index RETURNING 1
)
SELECT 'places in line' AS what, (SELECT count(*) FROM places) + (SELECT count(*) FROM past) AS count
UNION ALL SELECT 'ballots', count(*) FROM ballots
UNION ALL SELECT 'entries of line logs', count(*) FROM log
