-- Keeps entries that cannot be read for a person to look at.
INSERT INTO line_odd_entries (concert_id, at_ms, counter, entry)
SELECT :concert_id, * FROM unnest(:at_ms::bigint[], :counters::bigint[], :entries::text[])
ON CONFLICT DO NOTHING
