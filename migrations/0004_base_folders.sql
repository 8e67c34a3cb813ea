-- Base models that were named by hand: folders or GGUF files outside the home folder that no run has used yet.
CREATE TABLE base_folders (
    path TEXT NOT NULL PRIMARY KEY,
    added_at_ms BIGINT NOT NULL
);
