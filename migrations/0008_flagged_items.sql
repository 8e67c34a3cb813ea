-- Flagged items are few: listed and counted without a walk through all.
CREATE INDEX label_items_flagged ON label_items (project_id, place) WHERE flagged > 0;
