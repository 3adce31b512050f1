-- A new line, and batches of new fans who join it, for pgbench. Variables: line (any number, another one each time), batches, size
-- of a batch. Needs limits.sql.
\set ON_ERROR_STOP 1
INSERT INTO concerts (id, title, description, sale_state, queue_policy)
VALUES (bench_id('line', :line), 'Limits', '', 'on_sale', '{"waiting_limit": 10000000}');
INSERT INTO lines (concert_id, life) VALUES (bench_id('line', :line), 1);
DROP TABLE IF EXISTS bench_joins;
DROP SEQUENCE IF EXISTS bench_batches;
CREATE SEQUENCE bench_batches;
CREATE TABLE bench_joins AS
SELECT batch, bench_id('line', :line) AS concert_id, array_agg(fan) AS fans, array_agg(id) AS ids,
    sha256(string_agg(uuid_send(id), ''::bytea)) AS ids_hash
FROM (SELECT (n - 1) / :size + 1 AS batch, bench_id('fan', n) AS fan, bench_id('place' || :line, n) AS id
    FROM generate_series(1::bigint, :batches::bigint * :size) n) joiners
GROUP BY batch;
ALTER TABLE bench_joins ADD PRIMARY KEY (batch);
ANALYZE bench_joins;
