-- Ends holds that ran out and frees their seats. Skips reservations that another transaction has locked, so nobody
-- waits. Freeing does not advance a seat's version: everybody saw the seat as available at this version already.
-- With in_the_way only those that are in the way of one hold, of this user at this show of these seats.
-- One row (count): how many.
WITH due AS (
    SELECT r.id FROM reservations r
    WHERE r.state = 'held' AND r.expires_at <= clock_timestamp()
        AND (NOT :in_the_way OR (r.user_id = :user_id AND r.show_id = :show_id)
            OR r.id IN (SELECT s.reservation_id FROM seats s WHERE s.id = ANY(:seat_ids::uuid[]) AND s.state = 'held'))
    ORDER BY r.expires_at
    LIMIT :most
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
