-- Feedback in full, labelling projects, and what training data was made of it.

-- The first table of feedback had no place for choices, thumbs, critique, flags and keys, and no row without a model.
CREATE TABLE feedback_rows (
    id TEXT PRIMARY KEY,
    user_id TEXT REFERENCES users (id),
    session_id TEXT NOT NULL,
    model_id TEXT REFERENCES models (id),
    input_text TEXT NOT NULL,
    output_text TEXT NOT NULL,
    corrected_text TEXT,
    transformation_type TEXT NOT NULL,
    rating BIGINT CHECK (rating >= 1 AND rating <= 5),
    feedback_type TEXT NOT NULL,
    source TEXT NOT NULL,
    project_id TEXT,
    item_id TEXT,
    thumbs TEXT,
    preferred TEXT,
    other_text TEXT,
    other_model_id TEXT REFERENCES models (id),
    shown TEXT,
    critique TEXT,
    flags TEXT NOT NULL,
    answers TEXT NOT NULL,
    duration_ms BIGINT CHECK (duration_ms >= 0),
    correction_distance DOUBLE PRECISION,
    idempotency_key TEXT UNIQUE,
    created_at_ms BIGINT NOT NULL,
    withdrawn_at_ms BIGINT,
    withdrawn_reason TEXT
);
INSERT INTO feedback_rows (id, user_id, session_id, model_id, input_text, output_text, corrected_text, transformation_type, rating,
    feedback_type, source, flags, answers, created_at_ms)
    SELECT id, user_id, session_id, model_id, input_text, output_text, corrected_text, transformation_type, rating,
    feedback_type, 'api', '[]', '{}', created_at_ms FROM feedback ORDER BY created_at_ms, id;
DROP TABLE feedback;
ALTER TABLE feedback_rows RENAME TO feedback;
CREATE INDEX feedback_by_time ON feedback (created_at_ms, id);
CREATE INDEX feedback_by_model ON feedback (model_id, created_at_ms, id);
CREATE INDEX feedback_by_user ON feedback (user_id, created_at_ms, id);
CREATE INDEX feedback_by_type ON feedback (transformation_type, created_at_ms, id);
CREATE INDEX feedback_by_project ON feedback (project_id, created_at_ms, id);
CREATE INDEX feedback_by_item ON feedback (item_id);
CREATE INDEX feedback_withdrawn ON feedback (withdrawn_at_ms) WHERE withdrawn_at_ms IS NOT NULL;

-- Sums of feedback, so that statistics of millions of rows read thousands. Each row counts once in every grain; what a grain
-- does not tell apart is '*', and '' stands for none. Written in the transaction of the row. Withdrawn rows do not count.
--   model         day and model
--   type          day and transformation type
--   model_type    day, model and transformation type
--   reviewer      day and reviewer; reviewer_span the same for spans of 32 days, counted from 1970
--   cell          day, model, transformation type and reviewer; cell_span the same for such spans
--   rival, rival_type, rival_cell
--                 as model, model_type and cell: choices only, for the model that gave the second answer
CREATE TABLE feedback_sums (
    grain TEXT NOT NULL,
    user_id TEXT NOT NULL,
    model_id TEXT NOT NULL,
    transformation_type TEXT NOT NULL,
    day BIGINT NOT NULL,
    num BIGINT NOT NULL,
    rating_1 BIGINT NOT NULL,
    rating_2 BIGINT NOT NULL,
    rating_3 BIGINT NOT NULL,
    rating_4 BIGINT NOT NULL,
    rating_5 BIGINT NOT NULL,
    thumbs_up BIGINT NOT NULL,
    thumbs_down BIGINT NOT NULL,
    wins BIGINT NOT NULL,
    losses BIGINT NOT NULL,
    ties BIGINT NOT NULL,
    both_bad BIGINT NOT NULL,
    corrections BIGINT NOT NULL,
    distance_num BIGINT NOT NULL,
    distance_sum DOUBLE PRECISION NOT NULL,
    distance_squares DOUBLE PRECISION NOT NULL,
    flagged BIGINT NOT NULL,
    duration_num BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    PRIMARY KEY (grain, user_id, model_id, transformation_type, day)
);
CREATE INDEX feedback_sums_by_model ON feedback_sums (grain, model_id, day);
CREATE INDEX feedback_sums_by_type ON feedback_sums (grain, transformation_type, day);

CREATE TABLE label_projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    guidelines TEXT NOT NULL,
    source TEXT NOT NULL,
    questions TEXT NOT NULL,
    overlap BIGINT NOT NULL CHECK (overlap >= 1),
    item_order TEXT NOT NULL,
    seed BIGINT NOT NULL,
    status TEXT NOT NULL,
    transformation_type TEXT NOT NULL,
    max_items BIGINT NOT NULL,
    num_items BIGINT NOT NULL,
    num_done BIGINT NOT NULL,
    num_answers BIGINT NOT NULL,
    message TEXT,
    created_by TEXT REFERENCES users (id),
    revision BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL
);
CREATE INDEX label_projects_by_time ON label_projects (created_at_ms, id);

CREATE TABLE label_items (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES label_projects (id),
    place BIGINT NOT NULL,
    input_text TEXT NOT NULL,
    output_text TEXT NOT NULL,
    model_id TEXT REFERENCES models (id),
    other_text TEXT,
    other_model_id TEXT REFERENCES models (id),
    transformation_type TEXT NOT NULL,
    disagreement DOUBLE PRECISION NOT NULL,
    gold TEXT,
    resolution TEXT,
    resolved_by TEXT REFERENCES users (id),
    resolved_at_ms BIGINT,
    held BIGINT NOT NULL CHECK (held >= 0),
    submitted BIGINT NOT NULL CHECK (submitted >= 0),
    flagged BIGINT NOT NULL CHECK (flagged >= 0),
    is_open BOOLEAN NOT NULL,
    UNIQUE (project_id, place)
);
CREATE INDEX label_items_open ON label_items (project_id, is_open, place);

-- Who holds which item, and what became of it.
CREATE TABLE label_assignments (
    item_id TEXT NOT NULL REFERENCES label_items (id),
    project_id TEXT NOT NULL REFERENCES label_projects (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    state TEXT NOT NULL,
    shown TEXT NOT NULL,
    draft TEXT,
    feedback_id TEXT REFERENCES feedback (id),
    is_flagged BOOLEAN NOT NULL,
    note TEXT,
    taken_at_ms BIGINT NOT NULL,
    changed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (item_id, user_id)
);
CREATE INDEX label_assignments_by_user ON label_assignments (project_id, user_id, state, changed_at_ms);
CREATE INDEX label_assignments_by_age ON label_assignments (project_id, state, changed_at_ms);
CREATE INDEX label_assignments_by_feedback ON label_assignments (feedback_id);

-- Where a reviewer is: up to which place they have been given every item that was open (the next search begins after it), and
-- how many items they have judged and passed on.
CREATE TABLE label_cursors (
    project_id TEXT NOT NULL REFERENCES label_projects (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    place BIGINT NOT NULL,
    judged BIGINT NOT NULL CHECK (judged >= 0),
    passed BIGINT NOT NULL CHECK (passed >= 0),
    PRIMARY KEY (project_id, user_id)
);

-- Which feedback rows a dataset version was made of.
CREATE TABLE dataset_feedback (
    dataset_id TEXT NOT NULL REFERENCES datasets (id),
    feedback_id TEXT NOT NULL REFERENCES feedback (id),
    PRIMARY KEY (dataset_id, feedback_id)
);
CREATE INDEX dataset_feedback_by_row ON dataset_feedback (feedback_id, dataset_id);
