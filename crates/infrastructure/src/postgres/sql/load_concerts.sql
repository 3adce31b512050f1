-- Concerts that load runs made. Two things have to fit: the title, and who made it, an account of the addresses of load runs that
-- nobody can log in to. A title alone is easily chosen.
-- Rows of id, title, strangers: how many people who are not of load runs have a reservation, a place or a ballot there.
SELECT c.id, c.title, (
    SELECT count(*) FROM users u
    JOIN (SELECT r.user_id FROM reservations r JOIN shows s ON s.id = r.show_id WHERE s.concert_id = c.id
        UNION SELECT p.user_id FROM line_places_ever p WHERE p.concert_id = c.id
        UNION SELECT b.user_id FROM line_ballots b WHERE b.concert_id = c.id) AS there ON there.user_id = u.id
    WHERE NOT (u.password_hash = '!' AND u.email LIKE :addresses)) AS strangers
FROM concerts c
WHERE c.title LIKE :titles AND EXISTS (
    SELECT 1 FROM audit_log a JOIN users u ON u.id = a.actor_id
    WHERE a.concert_id = c.id AND a.action = 'create' AND u.password_hash = '!' AND u.email LIKE :addresses)
ORDER BY c.id
