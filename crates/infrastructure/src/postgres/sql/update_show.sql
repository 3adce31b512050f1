-- Saves a show if nobody has edited it since, and, where its start changes, if no seat is held or sold.
-- One row (fits, has_sales, done), or none when there is no such show.
WITH before AS (
    SELECT version = :expected AS fits, starts_at <> :starts_at AND EXISTS (
        SELECT 1 FROM seats WHERE show_id = :show_id
            AND (state = 'sold' OR (state = 'held' AND held_until > clock_timestamp()))) AS has_sales
    FROM shows WHERE id = :show_id
), edited AS (
    UPDATE shows SET venue = :venue, starts_at = :starts_at, hold_secs = :hold_secs, seats_per_fan = :seats_per_fan,
        version = version + 1, updated_at = now()
    FROM before WHERE id = :show_id AND version = :expected AND NOT before.has_sales
    RETURNING 1
)
SELECT fits, has_sales, EXISTS (SELECT 1 FROM edited) AS done FROM before
