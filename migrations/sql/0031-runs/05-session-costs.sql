-- No key: rows are only appended in bulk and pruned by run.
CREATE TABLE IF NOT EXISTS session_costs (
    processor_name VARCHAR NOT NULL,
    session_file VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    fuel BIGINT,
    peak_memory BIGINT,
    bytes BIGINT,
    guest_micros BIGINT
);
