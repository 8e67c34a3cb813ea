-- Sums of feedback by day, week and four weeks, with an index for each filter, so that statistics over any time read few rows.
-- Each feedback row counts once in every grain; what a grain does not tell apart is '*', and '' stands for none. Written in the
-- transaction of the row. Withdrawn rows do not count.
--   type, model, model_type, reviewer, reviewer_type, reviewer_model
--                 what each tells apart; cell tells apart reviewer, model and type
--   rival, rival_type, rival_reviewer, rival_cell
--                 as model, model_type, reviewer_model and cell: choices only, for the model that gave the second answer
--   _day, _week, _span
--                 its step: a day (UTC), a week from Monday on, four such weeks; numbered from the one that 1970-01-01 is in
-- They are counted anew from the rows when the database is opened.
DROP TABLE feedback_sums;
CREATE TABLE feedback_sums (
    grain TEXT NOT NULL,
    step BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    model_id TEXT NOT NULL,
    transformation_type TEXT NOT NULL,
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
    PRIMARY KEY (grain, step, user_id, model_id, transformation_type)
);
CREATE INDEX feedback_sums_by_user ON feedback_sums (grain, user_id, step);
CREATE INDEX feedback_sums_by_model ON feedback_sums (grain, model_id, step, transformation_type);
CREATE INDEX feedback_sums_by_type ON feedback_sums (grain, transformation_type, step);
