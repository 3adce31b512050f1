-- Why a hold did not succeed: the sale, what the fan has, and the seats asked for, as they are now.
-- One row per seat of the show that was asked for, or one row without a seat.
SELECT c.sale_state, s.starts_at <= now() AS started, s.seats_per_fan,
    (SELECT count(*) FROM reservations r JOIN reservation_seats rs ON rs.reservation_id = r.id AND rs.live
     WHERE r.user_id = :user_id AND r.show_id = :show_id AND r.state IN ('held', 'paid')
        AND (r.state = 'paid' OR r.expires_at > clock_timestamp())) AS seats_had,
    own.id AS own_id, own.expires_at <= clock_timestamp() AS own_overdue,
    seat.id AS seat_id, seat.section, seat.row_label, seat.number, seat.price_minor,
    seat.state, seat.state = 'held' AND seat.held_until <= clock_timestamp() AS overdue, seat.version
FROM shows s
JOIN concerts c ON c.id = s.concert_id
LEFT JOIN reservations own ON own.user_id = :user_id AND own.show_id = s.id AND own.state = 'held'
LEFT JOIN seats seat ON seat.show_id = s.id AND seat.id = ANY(:seat_ids::uuid[])
WHERE s.id = :show_id
ORDER BY seat.section, seat.row_label, seat.number
