-- Moves the end of a line's log, and the highest number called.
UPDATE lines SET log_index = :log_index, log_hash = :log_hash, event_ms = :event_ms, event_counter = :event_counter,
    passed = greatest(passed, :passed),
    -- Who left before the new highest number waits no more behind it.
    departed = departed - (SELECT count(*) FROM line_places p
        WHERE p.concert_id = lines.concert_id AND p.number > lines.passed AND p.number <= :passed
            AND p.ended_ms IS NOT NULL AND p.called_ms IS NULL)
WHERE concert_id = :concert_id
