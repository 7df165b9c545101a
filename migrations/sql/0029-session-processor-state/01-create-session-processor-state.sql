-- The default time is UTC whatever the zone of the session that inserts; a bare now() would be local.
CREATE TABLE IF NOT EXISTS session_processor_state (
    processor_name VARCHAR NOT NULL,
    session_file VARCHAR NOT NULL,
    username VARCHAR NOT NULL,
    processed_at TIMESTAMP DEFAULT make_timestamp(epoch_us(now())),
    items_extracted INTEGER DEFAULT 0,
    file_hash VARCHAR,
    PRIMARY KEY (processor_name, session_file)
);
