-- Before seats are held: makes other reservations of the fan at the show wait, and a move of the show, and claims the seats
-- for this transaction, one after the other, until one is claimed by somebody else. Whoever has the first seat of a choice
-- goes on to the next, so of several who want the same seats one gets them all, and a loser claims nothing behind the seat
-- that was lost. Who cannot win anyway, because a seat is taken or past its version or the fan holds others, claims none.
-- $1 lock of fan and show  $2 lock of the show  $3 locks of the seats, by ascending seat id  $4 seat ids  $5 versions
-- $6 user id  $7 show id
-- One row with the place in $3 of the seat that somebody else has claimed, from 1, or none.
WITH RECURSIVE alone AS MATERIALIZED (
    SELECT pg_advisory_xact_lock($1), pg_advisory_xact_lock_shared($2)
), hopeful AS MATERIALIZED (
    SELECT 1 FROM alone
    WHERE NOT EXISTS (
        SELECT 1 FROM unnest($4::uuid[], $5::int[]) AS w(seat_id, version)
        LEFT JOIN seats s ON s.id = w.seat_id AND s.version = w.version
            AND (s.state = 'available' OR (s.state = 'held' AND s.held_until <= clock_timestamp()))
        WHERE s.id IS NULL
    ) AND NOT EXISTS (
        SELECT 1 FROM reservations r
        WHERE r.user_id = $6 AND r.show_id = $7 AND r.state = 'held' AND r.expires_at > clock_timestamp()
    )
), claim (n, got) AS (
    SELECT 0, true FROM hopeful
    UNION ALL
    SELECT n + 1, pg_try_advisory_xact_lock(($3::bigint[])[n + 1]) FROM claim
    WHERE got AND n < cardinality($3::bigint[])
)
SELECT n::bigint FROM claim WHERE NOT got
