//! One foreign system each. A vendor's type never leaves its adapter, and no adapter knows another.

pub mod annotate;
pub mod decoder;
pub mod http;
pub mod kafka;
pub mod memory;
pub mod onnx;
pub mod scylla;
pub mod sqlite;
