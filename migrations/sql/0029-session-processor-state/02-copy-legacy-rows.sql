-- A row that is already there wins: it is newer than what the legacy table remembers.
INSERT INTO session_processor_state
    (processor_name, session_file, username, processed_at, items_extracted, file_hash)
SELECT 'verification', legacy.session_file, legacy.username, legacy.processed_at, legacy.items_extracted, legacy.file_hash
FROM session_extraction_state AS legacy
WHERE NOT EXISTS (
    SELECT 1
    FROM session_processor_state AS kept
    WHERE kept.processor_name = 'verification' AND kept.session_file = legacy.session_file
);
