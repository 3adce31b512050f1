DROP TABLE line_odd_entries;
ALTER TABLE reservations DROP COLUMN turn;
