use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::{
    domain::{Failure, Picture, Reason},
    stages::preprocess::Fault,
};

/// Sent by a child that has read its options and passed its self-test. One that fails it sends the [`Fault`] as JSON.
pub(super) const READY: &[u8] = b"ready";

/// A child's answer for a picture. The frame follows as a block of its own, which is empty if there is no frame.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The picture decodes.
    Frame(Picture),
    /// The picture fails.
    Failure {
        reason: Reason,
        detail: String,
        /// True if the failure counts, false if the picture has to be sent once more.
        is_final: bool,
    },
    /// The child is faulty and ends; another one has to decode the picture.
    Fault(Fault),
}

impl Answer {
    pub(super) fn failure(failure: Failure, is_final: bool) -> Self {
        Answer::Failure { reason: failure.reason, detail: failure.detail, is_final }
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
