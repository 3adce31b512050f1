-- Holds all seats for one fan, or does nothing.
-- $1 reservation id  $2 user id  $3 show id  $4 seat ids  $5 versions  $6 event id  $7 number of the fan's turn
-- One row per held seat, none when nothing was held.
WITH sale AS (
    SELECT s.id, s.concert_id, s.hold_secs, s.seats_per_fan, s.currency
    FROM shows s JOIN concerts c ON c.id = s.concert_id
    WHERE s.id = $3 AND c.sale_state IN ('on_sale', 'paused', 'draining') AND s.starts_at > now()
), had AS (
    SELECT count(*) AS seats
    FROM reservations r JOIN reservation_seats rs ON rs.reservation_id = r.id AND rs.live
    WHERE r.user_id = $2 AND r.show_id = $3 AND r.state IN ('held', 'paid')
), free AS (
    -- A loser never waits: a seat that somebody has locked is not free.
    SELECT s.id, s.price_minor
    FROM unnest($4::uuid[], $5::int[]) AS w(seat_id, version)
    JOIN seats s ON s.id = w.seat_id
    WHERE s.show_id = $3 AND s.version = w.version AND s.state = 'available'
    ORDER BY s.id
    FOR UPDATE OF s SKIP LOCKED
), total AS (
    SELECT count(*) AS seats, coalesce(sum(price_minor), 0)::bigint AS minor FROM free
), reservation AS (
    INSERT INTO reservations (id, user_id, show_id, total_minor, currency, expires_at, turn)
    SELECT $1, $2, $3, total.minor, sale.currency, clock_timestamp() + make_interval(secs => sale.hold_secs), $7
    FROM sale, had, total
    WHERE total.seats = cardinality($4::uuid[]) AND had.seats + total.seats <= sale.seats_per_fan
    ON CONFLICT (user_id, show_id) WHERE state = 'held' DO NOTHING
    RETURNING id, total_minor, currency, expires_at, created_at
), taken AS (
    UPDATE seats s SET state = 'held', reservation_id = r.id, held_until = r.expires_at, version = s.version + 1
    FROM reservation r, free
    WHERE s.id = free.id
    RETURNING s.id, s.section, s.row_label, s.number, s.price_minor
), lines AS (
    INSERT INTO reservation_seats (reservation_id, seat_id, show_id, price_minor)
    SELECT r.id, taken.id, $3, taken.price_minor FROM reservation r, taken
), event AS (
    INSERT INTO outbox_events (event_id, event_type, aggregate_id, payload)
    SELECT $6, 'reservation.held', r.id,
        jsonb_build_object('reservation_id', r.id, 'user_id', $2, 'show_id', $3, 'seat_ids', to_jsonb($4::uuid[]),
            'total_minor', r.total_minor, 'currency', r.currency, 'expires_at', r.expires_at)
    FROM reservation r
)
SELECT r.id, $2::uuid, $3::uuid, sale.concert_id, 'held'::text, r.total_minor, r.currency::text, r.expires_at,
    r.created_at, r.created_at, taken.id, taken.section, taken.row_label, taken.number, taken.price_minor
FROM reservation r, sale, taken
ORDER BY taken.section, taken.row_label, taken.number
