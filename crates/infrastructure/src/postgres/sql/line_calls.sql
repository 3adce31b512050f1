-- Writes calls to their places; those that are written stay as they are. Each place is looked up by its number and written
-- where it is, whatever the planner takes the table for.
-- Rows of number, user_id, place_id: places that were called now, and with no place_id whoever is called and over.
WITH called AS MATERIALIZED (
    SELECT c.*, p.spot, coalesce(p.lives, false) AS lives, coalesce(p.lives AND p.waits, false) AS waits
    FROM unnest(:numbers::bigint[], :fans::uuid[]) c (number, fan) LEFT JOIN LATERAL (
        SELECT ctid AS spot, user_id = c.fan AND ended_ms IS NULL AS lives, state IN ('waiting', 'back') AS waits
        FROM line_places WHERE concert_id = :concert_id AND number = c.number LIMIT 1) p ON true
), written AS (
    UPDATE line_places p SET state = 'active', called_ms = :now_ms, last_end_ms = :last_end_ms, arrived_ms = NULL,
        times = p.times + 1
    FROM called c WHERE p.ctid = c.spot AND c.waits
    RETURNING p.number, p.user_id, p.place_id
)
SELECT number, user_id, place_id FROM written
UNION ALL SELECT number, fan, NULL FROM called WHERE NOT lives
