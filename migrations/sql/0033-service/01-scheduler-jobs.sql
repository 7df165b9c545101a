CREATE TABLE IF NOT EXISTS scheduler_jobs (
    name VARCHAR NOT NULL,
    last_run_at TIMESTAMP,
    last_status VARCHAR,
    PRIMARY KEY (name)
);
