//! What facemill says about itself.

mod exporter;
mod health;
mod log_limit;
mod logs;
pub mod metrics;
pub mod otlp;
mod sampler;
mod server;
pub mod trace;

pub use exporter::{Exporter, ExporterError, Observed};
pub use health::Health;
pub use log_limit::LogLimit;
pub use logs::{LineWriter, LogFilterError, init_limited_logs, init_logs};
pub use metrics::{DnsMetrics, KafkaMetrics, Metrics};
pub use otlp::{Otlp, OtlpError, Traces};
pub use server::{ListenError, serve};
pub use trace::{Span, Tracer};
