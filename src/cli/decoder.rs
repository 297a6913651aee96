use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
};

use crate::{
    adapters::decoder::{ServeError, serve},
    stages::preprocess::PictureDecoder,
};

/// Closes what our parent's libraries left open for its children, above the three standard ones.
fn close_inherited() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the C library has no safe way to say it")]
    // SAFETY: the process has just begun, with one thread, and has opened no file of its own yet.
    unsafe {
        // Refused by an old kernel at worst, and then things are as they were.
        libc::close_range(3, libc::c_uint::MAX, 0);
    }
}

/// Decodes for the process on the other end of standard input, which is a socket, until that one closes it.
pub fn run() -> Result<(), ServeError> {
    close_inherited();
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    serve(socket, PictureDecoder::new)
}
