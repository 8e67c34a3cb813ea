-- Who may reach a team's server, and how they prove who they are. Of a password there is only its Argon2id hash, of a token or a
-- browser's session only the SHA-256 of what its holder shows.
ALTER TABLE users ADD COLUMN disabled_at_ms BIGINT;
ALTER TABLE users ADD COLUMN last_seen_at_ms BIGINT;

-- A table of its own, so that no list of users ever reads a hash.
CREATE TABLE passwords (
    user_id TEXT PRIMARY KEY REFERENCES users (id),
    hash TEXT NOT NULL,
    changed_at_ms BIGINT NOT NULL
);

CREATE TABLE access_tokens (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    created_at_ms BIGINT NOT NULL,
    last_used_at_ms BIGINT,
    expires_at_ms BIGINT
);
CREATE INDEX access_tokens_by_time ON access_tokens (created_at_ms, id);
CREATE INDEX access_tokens_by_user ON access_tokens (user_id, created_at_ms, id);

CREATE TABLE browser_sessions (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    digest TEXT NOT NULL UNIQUE,
    user_agent TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    last_used_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL
);
CREATE INDEX browser_sessions_by_time ON browser_sessions (created_at_ms, id);
CREATE INDEX browser_sessions_by_user ON browser_sessions (user_id, created_at_ms, id);

CREATE INDEX audit_log_by_command ON audit_log (command, seq);
