//! tb-nn
