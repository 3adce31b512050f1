-- The place of a fan: the live one if there is one, else, with past, the newest that is over. Found by the fan, as in join_line.sql.
SELECT p.number, p.user_id, p.place_id, p.token_id, p.joined_ms, p.state, p.times, p.arrived_ms, p.last_end_ms, p.lapsed_ms,
    p.ended_ms
FROM line_places_ever p
WHERE p.user_id = :fan AND uuid_send(p.concert_id) = uuid_send(:concert_id) AND (:past OR p.ended_ms IS NULL)
ORDER BY p.ended_ms IS NULL DESC, p.number DESC LIMIT 1
