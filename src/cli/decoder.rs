use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
};

use crate::{
    adapters::decoder::{ServeError, serve},
    stages::preprocess::PictureDecoder,
};

/// Decodes for the process on the other end of standard input, which is a socket, until that one closes it.
pub fn run() -> Result<(), ServeError> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    serve(socket, PictureDecoder::new)
}
