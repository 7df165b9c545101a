INSERT INTO session_processor_state
    (processor_name, session_file, username, processed_at, items_extracted, file_hash)
SELECT processor_name, session_file, username, processed_at, items_extracted, file_hash
FROM session_processor_state_before;
