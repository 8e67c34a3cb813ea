-- What a prompt asks to rewrite, where it holds more than that: an instruction, a template.
ALTER TABLE label_items ADD COLUMN source_text TEXT;
