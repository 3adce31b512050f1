-- Ends holds that ran out and frees their seats. Skips reservations that another transaction has locked, so nobody
-- waits. Freeing does not advance a seat's version: everybody saw the seat as available at this version already.
-- $1 most reservations to end  $2 whether only those in the way of one hold  $3 its user id  $4 its show id  $5 its seat ids
-- One row: how many were ended.
WITH due AS (
    SELECT r.id FROM reservations r
    WHERE r.state = 'held' AND r.expires_at <= clock_timestamp()
        AND (NOT $2 OR (r.user_id = $3 AND r.show_id = $4)
            OR r.id IN (SELECT s.reservation_id FROM seats s WHERE s.id = ANY($5::uuid[]) AND s.state = 'held'))
    ORDER BY r.expires_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
), ended AS (
    UPDATE reservations r SET state = 'expired', ended_at = clock_timestamp() FROM due
    WHERE r.id = due.id
    RETURNING r.id, r.user_id, r.show_id
), freed AS (
    UPDATE seats s SET state = 'available', reservation_id = NULL, held_until = NULL FROM ended
    WHERE s.reservation_id = ended.id AND s.state = 'held'
), lines AS (
    UPDATE reservation_seats rs SET live = false FROM ended WHERE rs.reservation_id = ended.id AND rs.live
), event AS (
    INSERT INTO outbox_events (event_id, event_type, aggregate_id, payload)
    SELECT gen_random_uuid(), 'reservation.expired', ended.id,
        jsonb_build_object('reservation_id', ended.id, 'user_id', ended.user_id, 'show_id', ended.show_id)
    FROM ended
)
SELECT count(*) FROM ended
