CREATE TABLE IF NOT EXISTS counters (
    name VARCHAR NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (name)
);
