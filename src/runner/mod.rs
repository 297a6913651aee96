//! The only place that knows when a record is done.

pub mod ports;
