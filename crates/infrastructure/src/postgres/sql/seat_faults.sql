-- What can be wrong with the seats of a concert, at one moment. It says itself what the indexes and triggers of the tables are
-- there for, so that it finds out when they are not.
-- Rows of what, count, is_fault: each fault has 0 when all is well; the others are figures.
WITH seat AS MATERIALIZED (
    SELECT s.id, s.show_id, s.state, s.reservation_id, h.seats_per_fan
    FROM shows h JOIN seats s ON s.show_id = h.id WHERE h.concert_id = :concert_id
), ticket AS MATERIALIZED (
    SELECT t.seat_id, t.reservation_id FROM seat JOIN tickets t ON t.seat_id = seat.id AND t.state = 'valid'
), live AS MATERIALIZED (
    SELECT rs.seat_id, rs.reservation_id, r.user_id, r.state, seat.show_id, seat.seats_per_fan
    FROM seat JOIN reservation_seats rs ON rs.seat_id = seat.id AND rs.live JOIN reservations r ON r.id = rs.reservation_id
), paid AS MATERIALIZED (
    SELECT r.id, p.amount_minor,
        (SELECT sum(rs.price_minor) FROM reservation_seats rs WHERE rs.reservation_id = r.id) AS price_minor
    FROM shows h JOIN reservations r ON r.show_id = h.id AND r.state = 'paid'
    LEFT JOIN payments p ON p.reservation_id = r.id AND p.state = 'captured'
    WHERE h.concert_id = :concert_id
)
SELECT 'seats' AS what, count(*) AS count, false AS is_fault FROM seat
UNION ALL SELECT 'sold', count(*), false FROM seat WHERE state = 'sold'
UNION ALL SELECT 'held', count(*), false FROM seat WHERE state = 'held'
UNION ALL SELECT 'valid tickets', count(*), false FROM ticket
UNION ALL SELECT 'paid reservations', count(*), false FROM paid
UNION ALL SELECT 'seats in two live reservations', count(*), true
    FROM (SELECT seat_id FROM live GROUP BY seat_id HAVING count(*) > 1) AS twice
UNION ALL SELECT 'seats with two valid tickets', count(*), true
    FROM (SELECT seat_id FROM ticket GROUP BY seat_id HAVING count(*) > 1) AS twice
UNION ALL SELECT 'sold seats without a valid ticket of their reservation', count(*), true FROM seat s
    WHERE s.state = 'sold'
        AND NOT EXISTS (SELECT 1 FROM ticket t WHERE t.seat_id = s.id AND t.reservation_id = s.reservation_id)
UNION ALL SELECT 'valid tickets of seats that are not sold to their reservation', count(*), true FROM ticket t
    WHERE NOT EXISTS (SELECT 1 FROM seat s
        WHERE s.id = t.seat_id AND s.reservation_id = t.reservation_id AND s.state = 'sold')
UNION ALL SELECT 'taken seats that no live reservation has', count(*), true FROM seat s
    WHERE s.state IN ('held', 'sold')
        AND NOT EXISTS (SELECT 1 FROM live l WHERE l.seat_id = s.id AND l.reservation_id = s.reservation_id)
UNION ALL SELECT 'live reservations whose seat is in another state', count(*), true FROM live l
    WHERE NOT EXISTS (SELECT 1 FROM seat s
        WHERE s.id = l.seat_id AND s.reservation_id = l.reservation_id
            AND (l.state, s.state) IN (('held', 'held'), ('paid', 'sold')))
UNION ALL SELECT 'paid reservations whose payment is not the price of their seats', count(*), true FROM paid
    WHERE amount_minor IS DISTINCT FROM price_minor
UNION ALL SELECT 'fans with more seats than one may have', count(*), true
    FROM (SELECT user_id, show_id FROM live GROUP BY user_id, show_id, seats_per_fan HAVING count(*) > seats_per_fan) AS greedy
