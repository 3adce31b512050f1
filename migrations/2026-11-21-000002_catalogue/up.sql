-- Concerts with the settings of their line, their shows, and the seats of each show.

CREATE TABLE concerts (
    id                    uuid        PRIMARY KEY,
    title                 text        NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    description           text        NOT NULL CHECK (length(description) <= 4000),
    sale_state            text        NOT NULL DEFAULT 'draft'
        CHECK (sale_state IN ('draft', 'scheduled', 'on_sale', 'paused', 'draining', 'closed')),
    interval_secs         int         NOT NULL DEFAULT 60      CHECK (interval_secs BETWEEN 1 AND 3600),
    batch                 int         NOT NULL DEFAULT 420     CHECK (batch BETWEEN 1 AND 100000),
    active_limit          int         NOT NULL DEFAULT 2100    CHECK (active_limit BETWEEN 1 AND 100000),
    idle_admission        bool        NOT NULL DEFAULT true,
    active_sliding_secs   int         NOT NULL DEFAULT 300     CHECK (active_sliding_secs BETWEEN 10 AND 86400),
    active_absolute_secs  int         NOT NULL DEFAULT 900     CHECK (active_absolute_secs BETWEEN 10 AND 86400),
    waiting_limit         int         NOT NULL DEFAULT 1000000 CHECK (waiting_limit BETWEEN 1 AND 10000000),
    -- Advances by one with every edit; operators send it back as If-Match, and the line applies only newer settings.
    version               int         NOT NULL DEFAULT 1,
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    CHECK (active_sliding_secs <= active_absolute_secs)
);
CREATE INDEX concerts_with_a_line ON concerts (id) WHERE sale_state IN ('on_sale', 'paused', 'draining');

CREATE TABLE shows (
    id            uuid        PRIMARY KEY,
    concert_id    uuid        NOT NULL REFERENCES concerts,
    venue         text        NOT NULL CHECK (length(venue) BETWEEN 1 AND 200),
    starts_at     timestamptz NOT NULL,
    currency      char(3)     NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    hold_secs     int         NOT NULL DEFAULT 300 CHECK (hold_secs BETWEEN 10 AND 3600),
    seats_per_fan int         NOT NULL DEFAULT 4   CHECK (seats_per_fan BETWEEN 1 AND 20),
    version       int         NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);
-- Keyset pages of a concert's future shows, and the next show of each concert.
CREATE INDEX shows_of_concert ON shows (concert_id, starts_at, id);

CREATE TABLE seats (
    id             uuid        PRIMARY KEY,
    show_id        uuid        NOT NULL REFERENCES shows,
    section        text        NOT NULL CHECK (length(section) BETWEEN 1 AND 40),
    row_label      text        NOT NULL CHECK (length(row_label) BETWEEN 1 AND 10),
    number         int         NOT NULL CHECK (number BETWEEN 1 AND 100000),
    price_minor    bigint      NOT NULL CHECK (price_minor BETWEEN 0 AND 1000000000000),
    state          text        NOT NULL DEFAULT 'available' CHECK (state IN ('available', 'held', 'sold', 'blocked')),
    -- The live reservation that holds the seat, or that bought it.
    reservation_id uuid,
    held_until     timestamptz,
    version        int         NOT NULL DEFAULT 1,
    UNIQUE (id, show_id),
    CHECK ((state IN ('held', 'sold')) = (reservation_id IS NOT NULL)),
    CHECK ((state = 'held') = (held_until IS NOT NULL))
) WITH (fillfactor = 80);
-- The seat list of a show in the order in which it is shown, and no place twice.
CREATE UNIQUE INDEX seats_of_show ON seats (show_id, section, row_label, number);
CREATE INDEX seats_of_reservation ON seats (reservation_id) WHERE reservation_id IS NOT NULL;

-- What a seat may become, whoever asks. A hold that ran out may be freed or taken over, a sold seat only freed by a
-- refund, and the version never goes back; it advances whenever somebody takes the seat or gives it back.
CREATE FUNCTION seat_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.show_id <> OLD.show_id THEN
        RAISE EXCEPTION 'seat % cannot move to another show', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.version < OLD.version THEN
        RAISE EXCEPTION 'the version of seat % cannot go back', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state <> OLD.state AND NOT (
        (OLD.state = 'available' AND NEW.state IN ('held', 'blocked'))
        OR (OLD.state = 'held' AND NEW.state IN ('available', 'sold'))
        OR (OLD.state = 'blocked' AND NEW.state = 'available')
        OR (OLD.state = 'sold' AND NEW.state = 'available')
    ) THEN
        RAISE EXCEPTION 'seat % cannot go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.reservation_id IS DISTINCT FROM OLD.reservation_id AND NEW.reservation_id IS NOT NULL
        AND OLD.state <> 'available' THEN
        RAISE EXCEPTION 'seat % is %, another reservation cannot take it', OLD.id, OLD.state
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state IN ('held', 'sold') AND NEW.state <> OLD.state AND NEW.version <= OLD.version THEN
        RAISE EXCEPTION 'taking seat % must advance its version', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER seat_guard BEFORE UPDATE ON seats FOR EACH ROW EXECUTE FUNCTION seat_guard();
