-- The columns after `file_hash` may all be null: others put rows in with the first six only.
CREATE TABLE IF NOT EXISTS session_processor_state (
    processor_name VARCHAR NOT NULL,
    session_file VARCHAR NOT NULL,
    username VARCHAR NOT NULL,
    processed_at TIMESTAMP DEFAULT make_timestamp(epoch_us(now())),
    items_extracted INTEGER DEFAULT 0,
    file_hash VARCHAR,
    file_size BIGINT,
    file_mtime_ns BIGINT,
    file_ctime_ns BIGINT,
    component_digest VARCHAR,
    session_seq BIGINT,
    due BOOLEAN,
    missing_since TIMESTAMP,
    PRIMARY KEY (processor_name, session_file)
);
