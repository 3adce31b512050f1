-- Whether a token's turn lasts, as far as the database knows. One row (number), or none.
SELECT number FROM line_places
WHERE user_id = :fan AND uuid_send(concert_id) = uuid_send(:concert_id) AND token_id = :token_id AND state = 'active'
    AND ended_ms IS NULL AND last_end_ms > extract(epoch FROM now()) * 1000
