CREATE TABLE IF NOT EXISTS session_failures (
    processor_name VARCHAR NOT NULL,
    session_file VARCHAR NOT NULL,
    file_hash VARCHAR,
    file_size BIGINT,
    file_mtime_ns BIGINT,
    file_ctime_ns BIGINT,
    component_digest VARCHAR,
    attempts BIGINT NOT NULL,
    own_attempts BIGINT NOT NULL,
    fault VARCHAR NOT NULL,
    detail VARCHAR,
    last_attempt_at TIMESTAMP NOT NULL,
    next_attempt_at TIMESTAMP,
    quarantined_at TIMESTAMP,
    missing_since TIMESTAMP,
    PRIMARY KEY (processor_name, session_file)
);
