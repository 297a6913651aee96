//! What facemill says about itself.

mod clients;
mod counts;
mod exporter;
mod health;
mod lag;
mod log_limit;
mod logs;
mod meter;
mod metric;
pub mod metrics;
pub mod otlp;
mod process;
mod sampler;
mod server;
mod stage;
pub mod trace;

pub use clients::{
    ClientState, CqlMetrics, CqlOperation, DecoderMetrics, DecoderReplaced, DnsMetrics, KafkaMetrics, Quantiles,
    inference_timings,
};
pub use counts::{Counter, Counters};
pub use exporter::{Exporter, ExporterError};
pub use health::Health;
pub use lag::{LagMetrics, LogLag, PartitionLag, TopicLag};
pub use log_limit::LogLimit;
pub use logs::{LineWriter, LogFilterError, init_limited_logs, init_logs};
pub use meter::{Labels, Meter, Timings};
pub use otlp::{Otlp, OtlpError, Traces};
pub use server::{ListenError, serve};
pub use stage::{LaneState, StageMetrics};
pub use trace::{Span, Tracer};

#[cfg(test)]
mod tests;
