//! `facemill local` as its users meet it: the real program, real HTTP on loopback, real photographs, the real model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)] // tests

mod addresses;
mod bad_input;
mod cli;
mod crash;
#[path = "../support/damaged.rs"]
mod damaged;
mod decoders;
mod hostile;
mod independence;
mod memory;
mod namespace;
mod outcomes;
#[path = "../support/pictures.rs"]
mod pictures;
#[path = "../support/program.rs"]
mod program;
mod resume;
mod signals;
mod tail;
