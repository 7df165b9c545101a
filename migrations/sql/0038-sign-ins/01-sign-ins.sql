CREATE TABLE IF NOT EXISTS sign_ins (
    sha256 VARCHAR NOT NULL,
    token_id VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    last_used_at TIMESTAMP NOT NULL
);
