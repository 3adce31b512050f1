-- One seat and one user for each hold that pgbench will make. Variable: show.
CREATE SEQUENCE IF NOT EXISTS bench_next;
DROP TABLE IF EXISTS bench_pick;
INSERT INTO users (id, email, password_hash, display_name, role)
SELECT md5('bench' || n)::uuid, 'bench' || n || '@limits.example', '!', 'Bench', 'fan' FROM generate_series(1, 60000) n
ON CONFLICT DO NOTHING;
CREATE TABLE bench_pick AS
SELECT row_number() OVER () AS n, s.id AS seat_id, md5('bench' || row_number() OVER ())::uuid AS user_id, s.show_id
FROM seats s WHERE s.show_id = :'show';
ALTER TABLE bench_pick ADD PRIMARY KEY (n);
SELECT setval('bench_next', 1);
ANALYZE bench_pick;
ANALYZE users;
