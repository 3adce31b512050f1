-- What the database has of reservations that fans were told of.
-- Rows of id, user_id, state, seats, payments (captured), tickets (valid), the last three as counts; none for an id that there is
-- not.
SELECT r.id, r.user_id, r.state,
    (SELECT count(*) FROM reservation_seats rs WHERE rs.reservation_id = r.id) AS seats,
    (SELECT count(*) FROM payments p WHERE p.reservation_id = r.id AND p.state = 'captured') AS payments,
    (SELECT count(*) FROM tickets t WHERE t.reservation_id = r.id AND t.state = 'valid') AS tickets
FROM reservations r WHERE r.id = ANY(:ids::uuid[])
