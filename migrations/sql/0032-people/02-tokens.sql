CREATE TABLE IF NOT EXISTS tokens (
    id VARCHAR NOT NULL,
    user_id VARCHAR,
    sha256 VARCHAR NOT NULL,
    role VARCHAR NOT NULL,
    label VARCHAR,
    created_at TIMESTAMP NOT NULL,
    expires_at TIMESTAMP,
    revoked_at TIMESTAMP,
    last_used_at TIMESTAMP,
    PRIMARY KEY (id)
);
