SELECT count(*)
FROM (
    SELECT processor_name, session_file, file_hash, file_size, file_mtime_ns, file_ctime_ns, component_digest, attempts,
        fault, detail, last_attempt_at, next_attempt_at, quarantined_at
    FROM session_failures_before
    EXCEPT
    SELECT processor_name, session_file, file_hash, file_size, file_mtime_ns, file_ctime_ns, component_digest, attempts,
        fault, detail, last_attempt_at, next_attempt_at, quarantined_at
    FROM session_failures
);
