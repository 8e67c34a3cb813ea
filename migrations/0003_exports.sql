-- What left the registry: each export of a model version with its certificate, which says how the written files answer beside the original.
CREATE TABLE exports (
    id TEXT PRIMARY KEY,
    model_id TEXT NOT NULL REFERENCES models (id),
    path TEXT NOT NULL,
    certificate TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL
);
CREATE INDEX exports_by_time ON exports (created_at_ms, id);
CREATE INDEX exports_by_model ON exports (model_id, created_at_ms, id);
