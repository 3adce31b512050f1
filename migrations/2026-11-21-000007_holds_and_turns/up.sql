-- What outlives a turn: holds, and entries of a line that cannot be read.

-- The number of the turn in which the seats were held. Paying ends this turn and never a newer one of the same fan.
ALTER TABLE reservations ADD COLUMN turn bigint;

-- Entries of the stream of a line's store that say nothing that Onsale knows. The line goes on without them; a person
-- should look.
CREATE TABLE line_odd_entries (
    concert_id uuid        NOT NULL REFERENCES lines,
    at_ms      bigint      NOT NULL,
    counter    bigint      NOT NULL,
    entry      text        NOT NULL,
    noted_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (concert_id, at_ms, counter)
);
