//! tb-api
