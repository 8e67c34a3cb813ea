//! What the trips share.
