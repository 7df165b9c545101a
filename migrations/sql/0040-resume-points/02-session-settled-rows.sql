-- The session numbers of the rows of a session that stay when it grows. Its other rows have the number
-- in `session_processor_state`.
CREATE TABLE IF NOT EXISTS session_settled_rows (
    processor_name VARCHAR NOT NULL,
    session_file VARCHAR NOT NULL,
    session_seq BIGINT NOT NULL
);
