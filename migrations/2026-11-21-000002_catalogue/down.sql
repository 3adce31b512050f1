DROP TABLE seats;
DROP FUNCTION seat_guard();
DROP TABLE shows;
DROP TABLE concerts;
