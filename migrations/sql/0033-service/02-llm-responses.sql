CREATE TABLE IF NOT EXISTS llm_responses (
    request_hash VARCHAR NOT NULL,
    response VARCHAR NOT NULL,
    tokens BIGINT,
    created_at TIMESTAMP NOT NULL,
    PRIMARY KEY (request_hash)
);
