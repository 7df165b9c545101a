DROP TABLE schema_version_before;
