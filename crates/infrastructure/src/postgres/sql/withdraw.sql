-- Takes a fan's ballot back, as long as its number has not been set aside.
-- One row (gone): true when it is gone, false when the draw is under way; none when there is no ballot.
WITH line AS MATERIALIZED (
    SELECT draw_last FROM lines WHERE concert_id = :concert_id FOR UPDATE
), gone AS (
    DELETE FROM line_ballots b USING line
    WHERE line.draw_last IS NULL AND b.user_id = :fan AND (b.concert_id = :concert_id) IS TRUE
    RETURNING 1
), counted AS (
    UPDATE lines SET registered = registered - 1 WHERE concert_id = :concert_id AND EXISTS (SELECT 1 FROM gone)
)
SELECT EXISTS (SELECT 1 FROM gone) AS gone FROM line_ballots b
WHERE b.user_id = :fan AND (b.concert_id = :concert_id) IS TRUE AND NOT EXISTS (
    SELECT 1 FROM lines l WHERE l.concert_id = :concert_id AND (b.key, b.place_id) <= (l.draw_key, l.draw_place))
