-- One row for every time that the cost of a period reached a mark of a budget, with the state of its
-- notification. A row is committed before anything is sent, so no notification is sent twice.
CREATE TABLE IF NOT EXISTS budget_crossings (
    id VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,
    subject VARCHAR,
    period VARCHAR NOT NULL,
    period_start TIMESTAMP NOT NULL,
    limit_pico_dollars HUGEINT NOT NULL,
    mark_permille INTEGER NOT NULL,
    spent_pico_dollars HUGEINT NOT NULL,
    crossed_at TIMESTAMP NOT NULL,
    state VARCHAR NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at TIMESTAMP NOT NULL,
    detail VARCHAR,
    PRIMARY KEY (id)
);
