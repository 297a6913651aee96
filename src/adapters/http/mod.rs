//! HTTP and DNS: reqwest and hickory behind the port that fetch asks through.

mod client;
mod dns;
mod error;
mod first_byte;

pub use client::{HttpAdapter, HttpBuildError, ReqwestBody};

#[cfg(test)]
mod tests;
