//! tb-report
