-- Which of some places of a show exist already, the first few of them.
-- Rows of section, row_label, number.
SELECT section, row_label, number FROM seats
WHERE show_id = :show_id AND (section, row_label, number) IN (
    SELECT * FROM unnest(:sections::text[], :rows::text[], :numbers::int[]))
ORDER BY section, row_label, number LIMIT :most
