CREATE TABLE IF NOT EXISTS session_waits (
    processor_name VARCHAR NOT NULL,
    session_file VARCHAR NOT NULL,
    since TIMESTAMP NOT NULL
);
