use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::{
    domain::{Failure, Picture, Reason},
    stages::preprocess::Fault,
};

/// What a child says once it has its options.
pub(super) const READY: &[u8] = b"ready";

/// What a child says of a picture; a frame follows as a block of its own.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Answer {
    Frame(Picture),
    Failure {
        reason: Reason,
        detail: String,
    },
    /// Nothing of the picture, but that another process has to decode it. The child ends.
    Fault(Fault),
}

impl Answer {
    pub(super) fn failure(failure: Failure) -> Self {
        Answer::Failure { reason: failure.reason, detail: failure.detail }
    }
}

/// Some bytes after their number.
pub(super) fn write_block(output: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("a block of more than 4 GiB"))?;
    output.write_all(&length.to_le_bytes())?;
    output.write_all(bytes)
}

/// The next block, which has at most `limit` bytes.
pub(super) fn read_block(input: &mut impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(io::Error::other(format!("a block of {length} bytes, where {limit} are allowed")));
    }
    let mut bytes = Vec::with_capacity(length);
    input.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}
