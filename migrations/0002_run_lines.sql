-- The story of a run as its worker told it: plan, certificate, checkpoints, samples, notes, last words. Curves and results have their
-- own tables. `events` carries the same lines to followers, but is a stream that may be cut; this is what a run's page reads.
CREATE TABLE run_lines (
    job_id TEXT NOT NULL REFERENCES training_jobs (id),
    n BIGINT NOT NULL CHECK (n >= 1),
    at_ms BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (job_id, n)
);
