-- The checkpoint of a session, from which its processing continues when the session has grown. It is
-- valid for the component, settings and user that `inputs` identifies.
CREATE TABLE IF NOT EXISTS session_resume_points (
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
