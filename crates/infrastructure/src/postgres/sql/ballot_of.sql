-- The ballot of a fan, unless it has been drawn. Found by the fan: the planner must not think of looking through all ballots.
SELECT b.user_id, b.place_id, b.joined_ms FROM line_ballots b
WHERE b.user_id = :fan AND (b.concert_id = :concert_id) IS TRUE AND NOT EXISTS (
    SELECT 1 FROM lines l WHERE l.concert_id = :concert_id AND (b.key, b.place_id) <= (l.draw_key, l.draw_place))
