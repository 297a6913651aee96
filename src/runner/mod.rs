//! The only place that knows when a record is done.
//!
//! ```text
//! Source ──▶ Lane: register in the Watermark ──▶ Work: stage, then hand over or flag
//!   ▲                     │                                        │ durable
//!   └── pause, resume ────┴──────── settle ◀───────────────────────┘
//!                                      │
//!                                      ▼
//!                            Commit: the lowest unfinished offset
//! ```
//!
//! One driver task owns the lanes, one for each assigned partition; every record is a task of its own.
//! Nothing else writes positions, and a position only moves past records whose effect is durable.

mod delayed;
mod driver;
mod lane;
#[cfg(test)]
mod model_test;
mod outlets;
pub mod ports;
mod retry;
mod step;
mod watermark;
mod work;

pub use delayed::Delayed;
pub use driver::{Runner, RunnerError};
pub use lane::LaneLimits;
pub use outlets::{Later, Outlets};
pub use retry::RetryPolicy;
pub use step::{Gate, Next, Origin, Step};
pub use watermark::Watermark;
pub use work::Work;
