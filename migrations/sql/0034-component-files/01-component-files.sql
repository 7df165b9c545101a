CREATE TABLE IF NOT EXISTS component_files (
    file_name VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    taken_at TIMESTAMP NOT NULL,
    PRIMARY KEY (file_name)
);
