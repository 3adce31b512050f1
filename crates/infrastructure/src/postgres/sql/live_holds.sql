-- How long live holds at a concert last, fan by fan behind this one. Rows of user_id, left_ms.
SELECT r.user_id, ceil(extract(epoch FROM max(r.expires_at) - clock_timestamp()) * 1000)::bigint AS left_ms
FROM reservations r JOIN shows s ON s.id = r.show_id
WHERE r.user_id > :after AND s.concert_id = :concert_id AND r.state = 'held' AND r.expires_at > clock_timestamp()
GROUP BY r.user_id ORDER BY r.user_id LIMIT :most
