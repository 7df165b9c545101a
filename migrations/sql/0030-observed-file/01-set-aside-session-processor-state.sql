-- Rebuilt and not altered: DuckDB 1.5.6 cannot open a database again after a crash
-- while its log holds an ADD COLUMN on a table that has a computed default.
ALTER TABLE session_processor_state RENAME TO session_processor_state_before;
