//! `facemill run` as a cluster meets it: real processes in real consumer groups on Kafka, results in a real CQL
//! database, URLs from Kafka's own tools, and servers that stop. `scripts/it.sh` starts what they need.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)] // tests

mod backlog;
mod cluster;
mod collector;
#[path = "../support/damaged.rs"]
mod damaged;
mod faults;
mod handover;
mod independence;
mod later;
mod letters;
mod log;
mod monitor;
#[path = "../support/pictures.rs"]
mod pictures;
mod process;
#[path = "../support/program.rs"]
mod program;
mod prometheus;
mod replay;
#[path = "../support/scripts.rs"]
mod scripts;
mod site;
mod start;
mod stop;
mod telemetry;
mod tools;
mod versions;
mod watch;
