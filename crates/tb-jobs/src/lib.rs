//! tb-jobs
