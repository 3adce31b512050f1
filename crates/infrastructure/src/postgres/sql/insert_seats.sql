-- Adds seats to a show. One statement whatever their number: each column is an array.
-- One row (count): how many; 0 when there is no such show.
WITH new AS (
    INSERT INTO seats (id, show_id, section, row_label, number, price_minor)
    SELECT n.id, sh.id, n.section, n.row_label, n.number, n.price
    FROM shows sh, unnest(:ids::uuid[], :sections::text[], :rows::text[], :numbers::int[], :prices::bigint[])
        AS n(id, section, row_label, number, price)
    WHERE sh.id = :show_id
    RETURNING 1
)
SELECT count(*) FROM new
