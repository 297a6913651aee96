//! facemill: image URLs in, stored face detections out.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod adapters;
pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod runner;
pub mod stages;
pub mod telemetry;
pub mod topics;
