-- The schema of a database after all migrations.
-- Generated. If this file is outdated, the failing test prints the command that updates it.

CREATE TABLE audit_log (
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

CREATE TABLE budget_crossings (
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

CREATE TABLE component_files (
    file_name VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    taken_at TIMESTAMP NOT NULL,
    PRIMARY KEY (file_name)
);

CREATE TABLE components (
    digest VARCHAR NOT NULL,
    processor_name VARCHAR NOT NULL,
    version BIGINT NOT NULL,
    compiled_sha256 VARCHAR,
    first_seen_at TIMESTAMP NOT NULL,
    PRIMARY KEY (digest)
);

CREATE TABLE counters (
    name VARCHAR NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE llm_calls (
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

CREATE TABLE llm_responses (
    request_hash VARCHAR NOT NULL,
    response VARCHAR NOT NULL,
    tokens BIGINT,
    created_at TIMESTAMP NOT NULL,
    PRIMARY KEY (request_hash)
);

CREATE TABLE runs (
    id VARCHAR NOT NULL,
    processor_name VARCHAR NOT NULL,
    trigger VARCHAR NOT NULL,
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP,
    result VARCHAR,
    stats VARCHAR,
    error VARCHAR,
    PRIMARY KEY (id)
);

CREATE TABLE scheduler_jobs (
    name VARCHAR NOT NULL,
    last_run_at TIMESTAMP,
    last_status VARCHAR,
    PRIMARY KEY (name)
);

CREATE TABLE schema_version (
    version INTEGER NOT NULL,
    applied_at TIMESTAMP,
    name VARCHAR,
    checksum VARCHAR,
    PRIMARY KEY (version)
);

CREATE TABLE session_costs (
    processor_name VARCHAR NOT NULL,
    session_file VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    fuel BIGINT,
    peak_memory BIGINT,
    bytes BIGINT,
    guest_micros BIGINT
);

CREATE TABLE session_failures (
    processor_name VARCHAR NOT NULL,
    session_file VARCHAR NOT NULL,
    file_hash VARCHAR,
    file_size BIGINT,
    file_mtime_ns BIGINT,
    file_ctime_ns BIGINT,
    component_digest VARCHAR,
    attempts BIGINT NOT NULL,
    own_attempts BIGINT NOT NULL,
    fault VARCHAR NOT NULL,
    detail VARCHAR,
    last_attempt_at TIMESTAMP NOT NULL,
    next_attempt_at TIMESTAMP,
    quarantined_at TIMESTAMP,
    missing_since TIMESTAMP,
    PRIMARY KEY (processor_name, session_file)
);

CREATE TABLE session_processor_state (
    processor_name VARCHAR NOT NULL,
    session_file VARCHAR NOT NULL,
    username VARCHAR NOT NULL,
    processed_at TIMESTAMP DEFAULT make_timestamp(epoch_us(now())),
    items_extracted INTEGER DEFAULT 0,
    file_hash VARCHAR,
    file_size BIGINT,
    file_mtime_ns BIGINT,
    file_ctime_ns BIGINT,
    component_digest VARCHAR,
    session_seq BIGINT,
    due BOOLEAN,
    missing_since TIMESTAMP,
    PRIMARY KEY (processor_name, session_file)
);

CREATE TABLE session_resume_points (
    processor_name VARCHAR NOT NULL,
    session_file VARCHAR NOT NULL,
    settled_seq BIGINT NOT NULL,
    inputs VARCHAR NOT NULL,
    prefix_bytes BIGINT NOT NULL,
    prefix_lines BIGINT NOT NULL,
    prefix_md5_state BLOB NOT NULL,
    prefix_check BLOB NOT NULL,
    row_count BIGINT NOT NULL,
    row_bytes BIGINT NOT NULL,
    state BLOB NOT NULL
);

CREATE TABLE session_settled_rows (
    processor_name VARCHAR NOT NULL,
    session_file VARCHAR NOT NULL,
    session_seq BIGINT NOT NULL
);

CREATE TABLE session_waits (
    processor_name VARCHAR NOT NULL,
    session_file VARCHAR NOT NULL,
    since TIMESTAMP NOT NULL
);

CREATE TABLE sign_ins (
    sha256 VARCHAR NOT NULL,
    token_id VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    last_used_at TIMESTAMP NOT NULL
);

CREATE TABLE tokens (
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

CREATE TABLE users (
    id VARCHAR NOT NULL,
    email VARCHAR NOT NULL,
    name VARCHAR,
    active BOOLEAN NOT NULL,
    created_at TIMESTAMP NOT NULL,
    updated_at TIMESTAMP NOT NULL,
    PRIMARY KEY (id)
);
