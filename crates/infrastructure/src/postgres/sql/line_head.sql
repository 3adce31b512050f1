-- What the database has of a line as a whole. One row, or none when nobody has joined or opened it yet.
SELECT l.life, l.seq, l.passed, l.sold_out, b.there AS draws,
    CASE WHEN b.there AND l.draw_last IS NOT NULL THEN coalesce((
        SELECT max(p.number) FROM line_places p
        WHERE p.concert_id = :concert_id AND p.number BETWEEN l.draw_first AND l.draw_last), l.draw_first - 1)
        ELSE l.seq END AS whole
FROM lines l, LATERAL (
    SELECT EXISTS (SELECT 1 FROM line_ballots WHERE concert_id = :concert_id AND (key, place_id)
        > (coalesce(l.draw_key, -1), coalesce(l.draw_place, '00000000-0000-0000-0000-000000000000')))) b (there)
WHERE l.concert_id = :concert_id
