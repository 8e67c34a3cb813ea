//! tb-db
