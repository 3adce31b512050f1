-- Before seats are held: makes other reservations of the fan at the show wait, and a move of the show, and claims the seats
-- for this transaction, one after the other, until one is claimed by somebody else. Whoever has the first seat of a choice
-- goes on to the next, so of several who want the same seats one gets them all, and a loser claims nothing behind the seat
-- that was lost. Who cannot win anyway, because a seat is taken or past its version or the fan holds others, claims none.
-- The locks of the seats come by ascending seat id.
-- One row (place): where among the locks that of the seat that somebody else has claimed, from 1; or none.
WITH RECURSIVE alone AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(:fan_and_show_lock), pg_advisory_xact_lock_shared(:show_lock)
), hopeful AS MATERIALIZED (
    SELECT 1 FROM alone
    WHERE NOT EXISTS (
        SELECT 1 FROM unnest(:seat_ids::uuid[], :versions::int[]) AS w(seat_id, version)
        LEFT JOIN seats s ON s.id = w.seat_id AND s.version = w.version
            AND (s.state = 'available' OR (s.state = 'held' AND s.held_until <= clock_timestamp()))
        WHERE s.id IS NULL
    ) AND NOT EXISTS (
        SELECT 1 FROM reservations r
        WHERE r.user_id = :user_id AND r.show_id = :show_id AND r.state = 'held' AND r.expires_at > clock_timestamp()
    )
), claim (n, got) AS (
    SELECT 0, true FROM hopeful
    UNION ALL
    SELECT n + 1, pg_try_advisory_xact_lock((:seat_locks::bigint[])[n + 1]) FROM claim
    WHERE got AND n < cardinality(:seat_locks::bigint[])
)
SELECT n::bigint AS place FROM claim WHERE NOT got
