-- A table of two columns, as the legacy system kept it, is rebuilt and not altered:
-- DuckDB 1.5.6 cannot open a database again after a crash while its log holds
-- an ADD COLUMN on a table that has a computed default.
ALTER TABLE schema_version RENAME TO schema_version_before;
