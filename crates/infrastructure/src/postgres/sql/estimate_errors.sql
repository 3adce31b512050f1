-- How right the newest estimates were that have been put to the test. One row.
WITH tested AS (
    SELECT greatest(e.low_secs - w.secs, w.secs - e.high_secs, 0) AS off
    FROM line_estimates e
    JOIN line_places_ever a ON a.concert_id = e.concert_id AND a.number = e.number
    CROSS JOIN LATERAL (SELECT (a.called_ms - e.at_ms) / 1000 AS secs) w
    WHERE e.concert_id = :concert_id AND a.times = 1 ORDER BY e.number DESC LIMIT 1000
)
SELECT count(*) AS checked, count(*) FILTER (WHERE off = 0) AS kept,
    coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY off), 0) AS p50_secs,
    coalesce(percentile_disc(0.9) WITHIN GROUP (ORDER BY off), 0) AS p90_secs
FROM tested
