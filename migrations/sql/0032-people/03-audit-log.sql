-- `params` and `params_before` hold JSON as text, so that the table needs no extension to be read.
CREATE TABLE IF NOT EXISTS audit_log (
    id VARCHAR NOT NULL,
    timestamp TIMESTAMP NOT NULL,
    user_id VARCHAR,
    action VARCHAR NOT NULL,
    resource VARCHAR,
    params VARCHAR,
    result VARCHAR,
    duration_ms BIGINT,
    params_before VARCHAR,
    client_ip VARCHAR,
    client_kind VARCHAR,
    correlation_id VARCHAR,
    PRIMARY KEY (id)
);
