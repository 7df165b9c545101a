CREATE TABLE IF NOT EXISTS components (
    digest VARCHAR NOT NULL,
    processor_name VARCHAR NOT NULL,
    version BIGINT NOT NULL,
    compiled_sha256 VARCHAR,
    first_seen_at TIMESTAMP NOT NULL,
    PRIMARY KEY (digest)
);
