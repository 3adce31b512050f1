-- Appends entries to the published log, column by column.
INSERT INTO line_log (concert_id, index, kind, number, place_hash, active, active_limit, at_ms, hash)
SELECT :concert_id, * FROM unnest(:indexes::bigint[], :kinds::text[], :numbers::bigint[], :places::bytea[], :active::bigint[],
    :limits::bigint[], :at_ms::bigint[], :hashes::bytea[])
