-- Places and ballots of a fan in all lines, the newest first. Ids are made in the order of time.
SELECT p.place_id, p.concert_id, c.title, p.number, p.state, p.joined_ms, p.called_ms, p.ended_ms, p.outcome
FROM (
    SELECT place_id, concert_id, number, CASE state WHEN 'back' THEN 'waiting' ELSE state END AS state, joined_ms,
        called_ms, ended_ms, outcome
    FROM line_places_ever WHERE user_id = :user
    UNION ALL
    -- A ballot that has been drawn is a place by now.
    SELECT b.place_id, b.concert_id, 0, 'pre_queue', b.joined_ms, NULL, NULL, NULL
    FROM line_ballots b LEFT JOIN lines l ON l.concert_id = b.concert_id
    WHERE b.user_id = :user AND ((b.key, b.place_id) <= (l.draw_key, l.draw_place)) IS NOT TRUE
) p JOIN concerts c ON c.id = p.concert_id
WHERE :before::uuid IS NULL OR p.place_id < :before
ORDER BY p.place_id DESC LIMIT :limit
