-- Holds all seats for one fan, or does nothing.
-- One row per held seat, none when nothing was held.
WITH sale AS (
    SELECT s.id, s.concert_id, c.title, s.venue, s.starts_at, s.hold_secs, s.seats_per_fan, s.currency
    FROM shows s JOIN concerts c ON c.id = s.concert_id
    WHERE s.id = :show_id AND c.sale_state IN ('on_sale', 'paused', 'draining') AND s.starts_at > now()
), had AS (
    SELECT count(*) AS seats
    FROM reservations r JOIN reservation_seats rs ON rs.reservation_id = r.id AND rs.live
    WHERE r.user_id = :user_id AND r.show_id = :show_id AND r.state IN ('held', 'paid')
), free AS (
    -- A loser never waits: a seat that somebody has locked is not free.
    SELECT s.id, s.price_minor
    FROM unnest(:seat_ids::uuid[], :versions::int[]) AS w(seat_id, version)
    JOIN seats s ON s.id = w.seat_id
    WHERE s.show_id = :show_id AND s.version = w.version AND s.state = 'available'
    ORDER BY s.id
    FOR UPDATE OF s SKIP LOCKED
), total AS (
    SELECT count(*) AS seats, coalesce(sum(price_minor), 0)::bigint AS minor FROM free
), reservation AS (
    INSERT INTO reservations (id, user_id, show_id, total_minor, currency, expires_at, turn)
    SELECT :reservation_id, :user_id, :show_id, total.minor, sale.currency, clock_timestamp() + make_interval(secs => sale.hold_secs), :turn
    FROM sale, had, total
    WHERE total.seats = cardinality(:seat_ids::uuid[]) AND had.seats + total.seats <= sale.seats_per_fan
    ON CONFLICT (user_id, show_id) WHERE state = 'held' DO NOTHING
    RETURNING id, total_minor, currency, expires_at, created_at
), taken AS (
    UPDATE seats s SET state = 'held', reservation_id = r.id, held_until = r.expires_at, version = s.version + 1
    FROM reservation r, free
    WHERE s.id = free.id
    RETURNING s.id, s.section, s.row_label, s.number, s.price_minor
), lines AS (
    INSERT INTO reservation_seats (reservation_id, seat_id, show_id, price_minor)
    SELECT r.id, taken.id, :show_id, taken.price_minor FROM reservation r, taken
), event AS (
    INSERT INTO outbox_events (event_id, event_type, aggregate_id, payload)
    SELECT :event_id, 'reservation.held', r.id,
        jsonb_build_object('reservation_id', r.id, 'user_id', :user_id, 'show_id', :show_id, 'seat_ids', to_jsonb(:seat_ids::uuid[]),
            'total_minor', r.total_minor, 'currency', r.currency, 'expires_at', r.expires_at)
    FROM reservation r
)
SELECT r.id, :user_id::uuid AS user_id, :show_id::uuid AS show_id, sale.concert_id, sale.title AS concert_title, sale.venue,
    sale.starts_at, 'held'::text AS state, r.total_minor, r.currency, r.expires_at, r.created_at, r.created_at AS seen_at,
    taken.id AS seat_id, taken.section, taken.row_label, taken.number, taken.price_minor
FROM reservation r, sale, taken
