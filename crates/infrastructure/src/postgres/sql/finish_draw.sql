-- Notes that nobody is left to be drawn.
UPDATE lines SET draw_finished_at = CASE WHEN draw_seed IS NOT NULL THEN coalesce(draw_finished_at, now()) END
WHERE concert_id = :concert_id AND (registered = 0 OR draw_last IS NOT NULL) AND NOT EXISTS (
    SELECT 1 FROM line_ballots
    WHERE concert_id = :concert_id AND (draw_key IS NULL OR (key, place_id) > (draw_key, draw_place)))
