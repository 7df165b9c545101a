-- One row for every request to a language model: put in before it is sent, with what it may come to
-- at most, and brought up to date when it is known. Budgets are sums over it.
CREATE TABLE IF NOT EXISTS llm_calls (
    id BIGINT NOT NULL,
    run_id VARCHAR NOT NULL,
    processor_name VARCHAR NOT NULL,
    session_file VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    sent_at TIMESTAMP NOT NULL,
    outcome VARCHAR,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cost_pico_dollars HUGEINT,
    PRIMARY KEY (id)
);
