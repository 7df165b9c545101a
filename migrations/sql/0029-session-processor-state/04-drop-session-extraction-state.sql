DROP TABLE session_extraction_state;
