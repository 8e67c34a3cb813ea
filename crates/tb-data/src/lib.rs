//! tb-data
