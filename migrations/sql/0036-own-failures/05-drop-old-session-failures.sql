DROP TABLE session_failures_before;
