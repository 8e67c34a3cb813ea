//! Every domain type, state machine, event and error code of ToneBridge. No I/O, no clock, no async.

pub mod random;
