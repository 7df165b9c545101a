-- Until now one number counted both; where the last fault was an outage, none is held against the session.
INSERT INTO session_failures
    (processor_name, session_file, file_hash, file_size, file_mtime_ns, file_ctime_ns, component_digest, attempts,
     own_attempts, fault, detail, last_attempt_at, next_attempt_at, quarantined_at)
SELECT processor_name, session_file, file_hash, file_size, file_mtime_ns, file_ctime_ns, component_digest, attempts,
    CASE
        WHEN quarantined_at IS NOT NULL THEN attempts
        WHEN file_hash IS NULL OR fault IN ('too-large', 'llm', 'input', 'component', 'host') THEN 0
        ELSE attempts
    END,
    fault, detail, last_attempt_at, next_attempt_at, quarantined_at
FROM session_failures_before;
