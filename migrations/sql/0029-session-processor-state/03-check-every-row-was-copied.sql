SELECT count(*)
FROM session_extraction_state AS legacy
WHERE NOT EXISTS (
    SELECT 1
    FROM session_processor_state AS kept
    WHERE kept.processor_name = 'verification' AND kept.session_file = legacy.session_file
);
