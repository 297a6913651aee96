//! What facemill says about itself.

pub mod metrics;

pub use metrics::Metrics;
