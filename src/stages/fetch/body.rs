use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    clock::{Clock, Expired},
    memory::{self, Memory},
    options::FetchOptions,
    port::HttpBody,
};
use crate::{
    domain::{Failure, Reason, hex},
    stages::magic::{HEAD_BYTES, PictureFormat},
};

/// First memory of a body whose length is not known.
const INITIAL_BYTES: usize = 64 << 10;

/// Most memory that a body gets for its word alone; the rest it gets as it comes.
const MAX_INITIAL_BYTES: usize = 1 << 20;

/// A body that came in whole, begins like a picture and keeps within the limits.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) bytes: Bytes,
    /// In hexadecimal.
    pub(super) sha256: String,
}

/// Reads a body, and gives up on it as early as possible.
pub(super) async fn collect(
    mut body: impl HttpBody,
    declared: Option<u64>,
    options: &FetchOptions,
    memory: &Memory,
    clock: &mut Clock,
) -> Result<Collected, Failure> {
    let limit = options.max_body_bytes;
    let declared = declared.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if declared.is_some_and(|bytes| bytes > limit) {
        return Err(too_large(limit));
    }
    let initial = declared.unwrap_or(INITIAL_BYTES).min(MAX_INITIAL_BYTES);
    let mut share = memory.reserve();
    share.grow_to(initial).await;
    let mut buffer = Vec::with_capacity(initial);
    let mut digest = Sha256::new();
    let mut sniffed = false;
    let before = clock.spent();
    while let Some(chunk) = clock.run(options.read_gap_timeout, body.chunk()).await.map_err(stalled)?? {
        let length = buffer.len() + chunk.len();
        if length > limit {
            return Err(too_large(limit));
        }
        if length > buffer.capacity() {
            let capacity = (2 * buffer.capacity()).min(declared.unwrap_or(limit)).max(length);
            share.grow_to(capacity).await;
            buffer.reserve_exact(capacity - buffer.len());
        }
        digest.update(&chunk);
        buffer.extend_from_slice(&chunk);
        if !sniffed && buffer.len() >= HEAD_BYTES {
            sniff(&buffer)?;
            sniffed = true;
        }
        let took = clock.spent() - before;
        if took > options.min_rate_grace && per_second(buffer.len(), took) < options.min_bytes_per_second {
            return Err(Failure::new(
                Reason::TooSlow,
                format!("{} bytes in {:.1} s", buffer.len(), took.as_secs_f64()),
            ));
        }
    }
    if buffer.is_empty() {
        return Err(Failure::new(Reason::EmptyBody, "the response has no body"));
    }
    if !sniffed {
        sniff(&buffer)?;
    }
    // The next stages count bytes, not capacity.
    if buffer.capacity() > buffer.len() + buffer.len() / 4 {
        buffer.shrink_to_fit();
    }
    Ok(Collected { bytes: memory::hold(buffer, share), sha256: hex(&digest.finalize()) })
}

/// Whether it is a picture at all; whether this build decodes it is preprocess's business.
fn sniff(head: &[u8]) -> Result<(), Failure> {
    if PictureFormat::of(head).is_some() {
        return Ok(());
    }
    let start = head.get(..8).unwrap_or(head).escape_ascii();
    Err(Failure::new(Reason::NotAnImage, format!("the body begins with \"{start}\", which no picture does")))
}

fn too_large(limit: usize) -> Failure {
    Failure::new(Reason::BodyTooLarge, format!("the body is larger than {limit} bytes"))
}

pub(super) fn stalled(expired: Expired) -> Failure {
    match expired {
        Expired::Step => Failure::new(Reason::ReadTimeout, "the body stalled"),
        Expired::Total => super::total_timeout(),
    }
}

fn per_second(bytes: usize, took: Duration) -> u64 {
    let millis = took.as_millis().max(1);
    u64::try_from(bytes as u128 * 1000 / millis).unwrap_or(u64::MAX)
}
