-- Gives fans ballots while the line is a pre-queue, a batch at a time. Who has one keeps it, on whatever device.
-- Each fan comes once, with a new id and its key in the draw.
-- Rows of user_id, outcome, id; the outcome is 'new', 'known', 'full', 'opening', or a stage that is no pre-queue.
WITH asked AS MATERIALIZED (
    SELECT a.user_id, a.id, a.key, a.at, b.place_id AS ballot
    FROM unnest(:fans::uuid[], :ids::uuid[], :keys::bigint[]) WITH ORDINALITY AS a (user_id, id, key, at)
    LEFT JOIN LATERAL (
        SELECT b.place_id FROM line_ballots b WHERE b.user_id = a.user_id AND (b.concert_id = :concert_id) IS TRUE LIMIT 1) b ON true
), fresh AS MATERIALIZED (
    SELECT user_id, id, key, row_number() OVER (ORDER BY at) AS n FROM asked WHERE ballot IS NULL
), line AS MATERIALIZED (
    SELECT l.registered,
        CASE WHEN c.sale_state <> 'pre_queue' THEN c.sale_state
            WHEN l.draw_last IS NOT NULL OR l.draw_finished_at IS NOT NULL THEN 'opening' ELSE 'full' END AS otherwise,
        (c.queue_policy ->> 'waiting_limit')::bigint AS waiting_limit
    FROM lines l JOIN concerts c ON c.id = l.concert_id
    WHERE l.concert_id = :concert_id AND EXISTS (SELECT 1 FROM fresh)
    FOR UPDATE OF l FOR SHARE OF c
), room AS MATERIALIZED (
    SELECT line.*, CASE WHEN otherwise <> 'full' THEN 0
        ELSE greatest(0, least((SELECT count(*) FROM fresh), waiting_limit - registered)) END AS given
    FROM line
), added AS (
    INSERT INTO line_ballots (concert_id, user_id, place_id, key, joined_ms)
    SELECT :concert_id, fresh.user_id, fresh.id, fresh.key, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
    FROM room JOIN fresh ON fresh.n <= room.given
    RETURNING user_id, place_id
), counted AS (
    UPDATE lines l SET registered = room.registered + room.given FROM room WHERE l.concert_id = :concert_id AND room.given > 0
)
SELECT user_id, 'new' AS outcome, place_id AS id FROM added
UNION ALL SELECT user_id, 'known', ballot FROM asked WHERE ballot IS NOT NULL
UNION ALL SELECT fresh.user_id, room.otherwise, fresh.id FROM room JOIN fresh ON fresh.n > room.given
