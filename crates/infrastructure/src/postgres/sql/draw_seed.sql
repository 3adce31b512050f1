-- Keeps a seed for the opening draw, unless there is one. One row (draw_seed).
INSERT INTO lines (concert_id, draw_seed) VALUES (:concert_id, :seed)
ON CONFLICT (concert_id) DO UPDATE SET draw_seed = coalesce(lines.draw_seed, excluded.draw_seed)
RETURNING draw_seed
