ALTER TABLE seats DROP CONSTRAINT seats_reservation_id_show_id_fkey;
DROP TABLE tickets;
DROP TABLE payments;
DROP TABLE reservation_seats;
DROP TABLE reservations;
