//! Decoding in processes of our own program: one that crashes, hangs or takes too much memory over a hostile picture
//! ends alone, and with it nothing but that picture.
//!
//! A child gets its options once, then one picture after the other over a socket, and answers with a frame or a failure.
//! It holds no secret, no connection and no other picture.

mod child;
mod process;
mod protocol;
mod replacement;
mod thread;

pub use child::{ServeError, serve};
pub use process::{DecoderProcess, Program};
pub use thread::DecoderThread;

#[cfg(test)]
mod tests;
