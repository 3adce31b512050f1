-- What events make of places: looked up by number, written where they are.
UPDATE line_places p SET arrived_ms = coalesce(p.arrived_ms, e.arrived), lapsed_ms = coalesce(e.lapsed, p.lapsed_ms),
    state = coalesce(e.state, p.state), ended_ms = coalesce(p.ended_ms, e.ended), outcome = coalesce(p.outcome, e.outcome)
FROM (
    SELECT f.*, p.spot
    FROM unnest(:numbers::bigint[], :arrived::bigint[], :lapsed::bigint[], :states::text[], :ended::bigint[], :outcomes::text[])
        f (number, arrived, lapsed, state, ended, outcome), LATERAL (
        -- Nobody has had a turn who was never called.
        SELECT ctid AS spot FROM line_places
        WHERE concert_id = :concert_id AND number = f.number AND called_ms IS NOT NULL LIMIT 1) p) e
WHERE p.ctid = e.spot
