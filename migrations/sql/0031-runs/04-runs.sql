CREATE TABLE IF NOT EXISTS runs (
    id VARCHAR NOT NULL,
    processor_name VARCHAR NOT NULL,
    trigger VARCHAR NOT NULL,
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP,
    result VARCHAR,
    stats VARCHAR,
    error VARCHAR,
    PRIMARY KEY (id)
);
