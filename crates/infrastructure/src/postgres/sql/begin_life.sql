-- Begins the next life of a line. One row, or none when there is no such concert.
WITH begun AS (
    INSERT INTO lines (concert_id, life) SELECT id, 1 FROM concerts WHERE id = :concert_id
    ON CONFLICT (concert_id) DO UPDATE SET life = lines.life + 1
    RETURNING life, seq, passed, event_ms, event_counter
)
SELECT life, seq, passed, event_ms, event_counter, coalesce((
    SELECT called_ms FROM line_places WHERE concert_id = :concert_id AND number = begun.passed), 0) AS last_call_ms
FROM begun
