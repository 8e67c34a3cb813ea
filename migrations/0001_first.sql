-- The first schema. One text for SQLite and PostgreSQL: TEXT ids and JSON, BIGINT numbers and *_ms (milliseconds since 1970 UTC),
-- DOUBLE PRECISION, BOOLEAN. State words are checked by the types of tb-core, so that a new word needs no new table.
-- A released migration is never edited: add the next file.

-- Numbers without gaps: a row stays locked from its increment to the commit, so that order of numbers is order of commits.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('events', 0);
INSERT INTO counters (name, value) VALUES ('audit_log', 0);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL
);

CREATE TABLE datasets (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    version BIGINT NOT NULL CHECK (version >= 1),
    description TEXT NOT NULL,
    type TEXT NOT NULL,
    file_path TEXT NOT NULL,
    format TEXT NOT NULL,
    size_mb DOUBLE PRECISION NOT NULL,
    num_samples BIGINT NOT NULL CHECK (num_samples >= 0),
    splits TEXT NOT NULL,
    num_problems BIGINT NOT NULL CHECK (num_problems >= 0),
    shape TEXT NOT NULL,
    mapping TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    UNIQUE (name, version)
);
CREATE INDEX datasets_by_time ON datasets (created_at_ms, id);
CREATE INDEX datasets_by_sha256 ON datasets (sha256);

CREATE TABLE training_jobs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    model_type TEXT NOT NULL,
    base_model TEXT NOT NULL,
    dataset_id TEXT REFERENCES datasets (id),
    status TEXT NOT NULL,
    config TEXT NOT NULL,
    hyperparameters TEXT NOT NULL,
    progress DOUBLE PRECISION NOT NULL CHECK (progress >= 0 AND progress <= 1),
    metrics TEXT NOT NULL,
    error_message TEXT,
    device TEXT,
    run_dir TEXT NOT NULL,
    queue_rank BIGINT NOT NULL,
    version BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    started_at_ms BIGINT,
    completed_at_ms BIGINT
);
CREATE INDEX training_jobs_by_time ON training_jobs (created_at_ms, id);
CREATE INDEX training_jobs_by_queue ON training_jobs (status, queue_rank, created_at_ms, id);
CREATE INDEX training_jobs_by_dataset ON training_jobs (dataset_id, created_at_ms, id);

CREATE TABLE models (
    id TEXT PRIMARY KEY,
    training_job_id TEXT REFERENCES training_jobs (id),
    name TEXT NOT NULL,
    version BIGINT NOT NULL CHECK (version >= 1),
    model_type TEXT NOT NULL,
    base_model TEXT NOT NULL,
    path TEXT NOT NULL,
    metrics TEXT NOT NULL,
    status TEXT NOT NULL,
    lineage TEXT NOT NULL,
    files TEXT NOT NULL,
    revision BIGINT NOT NULL,
    deployed_at_ms BIGINT,
    created_at_ms BIGINT NOT NULL,
    UNIQUE (name, version)
);
CREATE UNIQUE INDEX models_one_in_production ON models (name) WHERE status = 'production';
CREATE INDEX models_by_time ON models (created_at_ms, id);
CREATE INDEX models_by_job ON models (training_job_id);

-- The model that a job measures or continues from. Its own table, because models refer to jobs already and a circle of
-- foreign keys cannot be written the same way for both databases.
CREATE TABLE job_models (
    job_id TEXT PRIMARY KEY REFERENCES training_jobs (id),
    model_id TEXT NOT NULL REFERENCES models (id)
);
CREATE INDEX job_models_by_model ON job_models (model_id, job_id);

-- What a model version was made from: exactly one of the three foreign keys repeats parent_id.
CREATE TABLE lineage (
    child_id TEXT NOT NULL REFERENCES models (id),
    parent_kind TEXT NOT NULL,
    parent_id TEXT NOT NULL,
    dataset_id TEXT REFERENCES datasets (id),
    model_id TEXT REFERENCES models (id),
    job_id TEXT REFERENCES training_jobs (id),
    PRIMARY KEY (child_id, parent_kind, parent_id),
    CHECK (
        (parent_kind = 'dataset' AND dataset_id = parent_id AND dataset_id IS NOT NULL AND model_id IS NULL AND job_id IS NULL)
        OR (parent_kind = 'model' AND model_id = parent_id AND model_id IS NOT NULL AND dataset_id IS NULL AND job_id IS NULL)
        OR (parent_kind = 'job' AND job_id = parent_id AND job_id IS NOT NULL AND dataset_id IS NULL AND model_id IS NULL)
    )
);
CREATE INDEX lineage_by_parent ON lineage (parent_kind, parent_id, child_id);

CREATE TABLE metric_points (
    job_id TEXT NOT NULL REFERENCES training_jobs (id),
    step BIGINT NOT NULL,
    epoch DOUBLE PRECISION NOT NULL,
    loss DOUBLE PRECISION NOT NULL,
    grad_norm DOUBLE PRECISION NOT NULL,
    learning_rate DOUBLE PRECISION NOT NULL,
    tokens BIGINT NOT NULL,
    num_tokens BIGINT NOT NULL,
    tokens_per_s DOUBLE PRECISION NOT NULL,
    peak_memory_bytes BIGINT NOT NULL,
    eta_s DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (job_id, step)
);

CREATE TABLE eval_points (
    job_id TEXT NOT NULL REFERENCES training_jobs (id),
    step BIGINT NOT NULL,
    epoch DOUBLE PRECISION NOT NULL,
    eval_loss DOUBLE PRECISION NOT NULL,
    mean_token_accuracy DOUBLE PRECISION,
    is_best BOOLEAN NOT NULL,
    PRIMARY KEY (job_id, step)
);

CREATE TABLE checkpoints (
    job_id TEXT NOT NULL REFERENCES training_jobs (id),
    step BIGINT NOT NULL,
    path TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    is_best BOOLEAN NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (job_id, step)
);

-- How far the event lines of a run folder are stored.
CREATE TABLE ingest_cursors (
    job_id TEXT PRIMARY KEY REFERENCES training_jobs (id),
    last_event BIGINT NOT NULL
);

CREATE TABLE evaluations (
    id TEXT PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES training_jobs (id),
    model_id TEXT REFERENCES models (id),
    dataset_id TEXT REFERENCES datasets (id),
    report TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL
);
CREATE INDEX evaluations_by_time ON evaluations (created_at_ms, id);
CREATE INDEX evaluations_by_job ON evaluations (job_id, created_at_ms, id);
CREATE INDEX evaluations_by_model ON evaluations (model_id, created_at_ms, id);
CREATE INDEX evaluations_by_dataset ON evaluations (dataset_id, created_at_ms, id);

CREATE TABLE feedback (
    id TEXT PRIMARY KEY,
    user_id TEXT REFERENCES users (id),
    session_id TEXT NOT NULL,
    model_id TEXT NOT NULL REFERENCES models (id),
    input_text TEXT NOT NULL,
    output_text TEXT NOT NULL,
    corrected_text TEXT,
    transformation_type TEXT NOT NULL,
    rating BIGINT CHECK (rating >= 1 AND rating <= 5),
    feedback_type TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL
);
CREATE INDEX feedback_by_time ON feedback (created_at_ms, id);
CREATE INDEX feedback_by_model ON feedback (model_id, created_at_ms, id);
CREATE INDEX feedback_by_user ON feedback (user_id, created_at_ms, id);

CREATE TABLE ab_tests (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    model_a_id TEXT NOT NULL REFERENCES models (id),
    model_b_id TEXT NOT NULL REFERENCES models (id),
    traffic_split DOUBLE PRECISION NOT NULL CHECK (traffic_split >= 0 AND traffic_split <= 1),
    success_metrics TEXT NOT NULL,
    status TEXT NOT NULL,
    winner TEXT,
    results TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    completed_at_ms BIGINT
);
CREATE INDEX ab_tests_by_time ON ab_tests (created_at_ms, id);
CREATE INDEX ab_tests_by_status ON ab_tests (status, created_at_ms, id);
CREATE INDEX ab_tests_by_model_a ON ab_tests (model_a_id);
CREATE INDEX ab_tests_by_model_b ON ab_tests (model_b_id);

CREATE TABLE deployments (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    model_id TEXT NOT NULL REFERENCES models (id),
    status TEXT NOT NULL,
    previous_id TEXT REFERENCES deployments (id),
    reason TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    live_at_ms BIGINT,
    ended_at_ms BIGINT
);
CREATE UNIQUE INDEX deployments_one_live ON deployments (name) WHERE status = 'live';
CREATE INDEX deployments_by_time ON deployments (created_at_ms, id);
CREATE INDEX deployments_by_name ON deployments (name, created_at_ms, id);
CREATE INDEX deployments_by_model ON deployments (model_id);
CREATE INDEX deployments_by_previous ON deployments (previous_id);

-- The stream of changes. No foreign key to jobs: what happened stays true.
CREATE TABLE events (
    seq BIGINT PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    job_id TEXT,
    body TEXT NOT NULL
);
CREATE INDEX events_by_job ON events (job_id, seq);

CREATE TABLE audit_log (
    seq BIGINT PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    command TEXT NOT NULL,
    subject TEXT NOT NULL,
    arguments TEXT NOT NULL
);
CREATE INDEX audit_log_by_actor ON audit_log (actor, seq);
CREATE INDEX audit_log_by_subject ON audit_log (subject, seq);
