SELECT count(*)
FROM (
    SELECT processor_name, session_file, username, processed_at, items_extracted, file_hash
    FROM session_processor_state_before
    EXCEPT
    SELECT processor_name, session_file, username, processed_at, items_extracted, file_hash
    FROM session_processor_state
);
