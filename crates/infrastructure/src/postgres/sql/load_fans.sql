-- The next fans behind an id that load runs made and that may be removed, locked: nobody can log in as one of them, and none has a
-- reservation, a place or a ballot at a concert that is not in the list.
-- Rows of id.
SELECT u.id FROM users u
WHERE u.id > :after AND u.role = 'fan' AND u.password_hash = '!' AND u.email LIKE :addresses
    AND NOT EXISTS (SELECT 1 FROM reservations r JOIN shows s ON s.id = r.show_id
        WHERE r.user_id = u.id AND s.concert_id <> ALL(:concerts::uuid[]))
    AND NOT EXISTS (SELECT 1 FROM line_places_ever p WHERE p.user_id = u.id AND p.concert_id <> ALL(:concerts))
    AND NOT EXISTS (SELECT 1 FROM line_ballots b WHERE b.user_id = u.id AND b.concert_id <> ALL(:concerts))
ORDER BY u.id LIMIT :most
FOR UPDATE OF u
