-- Which of these turns are over, and whether they were paid. Rows of number, user_id, paid.
SELECT t.number, t.fan AS user_id, t.paid FROM (
    SELECT t.number, t.fan, p.ended_ms IS NOT NULL AS over, EXISTS (
        SELECT 1 FROM reservations r JOIN shows s ON s.id = r.show_id
        WHERE r.user_id = t.fan AND s.concert_id = :concert_id AND r.turn = t.number AND r.state = 'paid') AS paid
    FROM (SELECT :concert_id AS concert_id, * FROM unnest(:numbers::bigint[], :fans::uuid[]) u (number, fan) OFFSET 0) t
    JOIN line_places p ON p.concert_id = t.concert_id AND p.number = t.number) t
WHERE t.over OR t.paid
