//! One binary, one file per trip.
