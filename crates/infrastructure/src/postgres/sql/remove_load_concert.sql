-- Removes a concert of a load run that nobody has a reservation at, whose row and shows the caller has locked, with what is left of
-- its line. The trigger that keeps the audit log append-only is off.
-- Rows of what, count.
WITH at_shows AS MATERIALIZED (
    SELECT id FROM shows WHERE concert_id = :concert_id
), seats_gone AS (
    DELETE FROM seats s USING at_shows WHERE s.show_id = at_shows.id RETURNING 1
), shows_gone AS (
    DELETE FROM shows WHERE concert_id = :concert_id RETURNING 1
), estimates_gone AS (
    DELETE FROM line_estimates WHERE concert_id = :concert_id
), odd_gone AS (
    DELETE FROM line_odd_entries WHERE concert_id = :concert_id
), line_gone AS (
    DELETE FROM lines WHERE concert_id = :concert_id
), audit_gone AS (
    DELETE FROM audit_log WHERE concert_id = :concert_id RETURNING 1
), concert_gone AS (
    DELETE FROM concerts WHERE id = :concert_id RETURNING 1
)
SELECT 'concerts' AS what, count(*) AS count FROM concert_gone
UNION ALL SELECT 'shows', count(*) FROM shows_gone
UNION ALL SELECT 'seats', count(*) FROM seats_gone
UNION ALL SELECT 'entries of the audit log', count(*) FROM audit_gone
