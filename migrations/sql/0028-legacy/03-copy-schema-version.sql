-- Nothing in the old table forbids a number twice; the newest time wins.
-- Numbers above 28 are given again by the steps that earn them.
INSERT INTO schema_version (version, applied_at)
SELECT CAST(version AS INTEGER), max(CAST(applied_at AS TIMESTAMP))
FROM schema_version_before
WHERE version <= 28
GROUP BY 1;
