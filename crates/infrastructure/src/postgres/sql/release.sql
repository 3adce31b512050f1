-- Releases a reservation that is held and in time, and frees its seats.
-- One row (count): how many, 0 or 1.
WITH ended AS (
    UPDATE reservations SET state = 'cancelled', ended_at = clock_timestamp()
    WHERE id = :reservation_id AND user_id = :user_id AND state = 'held' AND expires_at > clock_timestamp()
    RETURNING id, show_id
), freed AS (
    UPDATE seats s SET state = 'available', reservation_id = NULL, held_until = NULL, version = s.version + 1
    FROM ended WHERE s.reservation_id = ended.id AND s.state = 'held'
), lines AS (
    UPDATE reservation_seats rs SET live = false FROM ended WHERE rs.reservation_id = ended.id AND rs.live
), event AS (
    INSERT INTO outbox_events (event_id, event_type, aggregate_id, payload)
    SELECT :event_id, 'reservation.cancelled', ended.id,
        jsonb_build_object('reservation_id', ended.id, 'user_id', :user_id, 'show_id', ended.show_id)
    FROM ended
)
SELECT count(*) FROM ended
