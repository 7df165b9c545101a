CREATE TABLE IF NOT EXISTS schema_version (
    version INTEGER NOT NULL,
    applied_at TIMESTAMP,
    name VARCHAR,
    checksum VARCHAR,
    PRIMARY KEY (version)
);
