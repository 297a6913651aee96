use std::{error::Error, io};

use crate::stages::fetch::HttpError;

/// What reqwest's error means when no response came.
pub(super) fn of_exchange(error: &reqwest::Error) -> HttpError {
    if let Some(error) = find::<HttpError>(error) {
        // Our own resolver's, on its way back through reqwest.
        error.clone()
    } else if let Some(error) = find::<rustls::Error>(error) {
        HttpError::Tls(error.to_string())
    } else if error.is_connect() && error.is_timeout() {
        HttpError::ConnectTimeout
    } else if error.is_connect() {
        HttpError::ConnectFailed(innermost(error).to_string())
    } else {
        HttpError::ConnectionLost(innermost(error).to_string())
    }
}

/// What reqwest's error means in the middle of a body.
pub(super) fn of_body(error: &reqwest::Error) -> HttpError {
    HttpError::ConnectionLost(innermost(error).to_string())
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The cause that names the trouble, and no URL.
pub(super) fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    chain(error).last().unwrap_or(error)
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| cause(error))
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        // An io::Error that wraps another error passes over it when asked for its source.
        Some(inner) => Some(inner),
        None => error.source(),
    }
}
