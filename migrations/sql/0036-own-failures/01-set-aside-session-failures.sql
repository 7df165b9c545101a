-- Rebuilt and not altered, as every table that gets new columns.
ALTER TABLE session_failures RENAME TO session_failures_before;
