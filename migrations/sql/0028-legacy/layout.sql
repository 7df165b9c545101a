-- The layout this ladder starts from, as the legacy system left it at number 28.
-- The ladder never runs this file: a database either comes with the layout or does without it.
-- It stands here as the record of what 29 expects, and for whoever needs such a database in a test.
CREATE TABLE schema_version (
    version INTEGER NOT NULL,
    applied_at TIMESTAMP DEFAULT current_timestamp
);

CREATE TABLE session_extraction_state (
    session_file VARCHAR PRIMARY KEY,
    username VARCHAR NOT NULL,
    processed_at TIMESTAMP DEFAULT current_timestamp,
    items_extracted INTEGER DEFAULT 0,
    file_hash VARCHAR
);
