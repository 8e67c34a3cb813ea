//! tb-stats
