-- How a show sells: seats by state and what was paid for them, at one moment. One row, or none when there is no such show.
SELECT
    count(s.id) FILTER (WHERE s.state = 'available' OR (s.state = 'held' AND s.held_until <= now())) AS available,
    count(s.id) FILTER (WHERE s.state = 'held' AND s.held_until > now()) AS held,
    count(s.id) FILTER (WHERE s.state = 'sold') AS sold,
    count(s.id) FILTER (WHERE s.state = 'blocked') AS blocked,
    (SELECT coalesce(sum(p.amount_minor), 0)::bigint FROM payments p JOIN reservations r ON r.id = p.reservation_id
     WHERE r.show_id = sh.id AND p.state = 'captured') AS revenue_minor,
    sh.currency
FROM shows sh LEFT JOIN seats s ON s.show_id = sh.id
WHERE sh.id = :show_id GROUP BY sh.id
