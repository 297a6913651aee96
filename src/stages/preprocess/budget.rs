use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::internal;
use crate::domain::Failure;

/// The unit in which memory is handed out, in bytes.
const UNIT: u64 = 64 << 10;

/// Memory that pictures share.
pub(super) struct Budget {
    units: Arc<Semaphore>,
    total: u32,
}

/// One picture's part, given back when dropped.
pub(super) struct Share {
    _permit: OwnedSemaphorePermit,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        let total = units(bytes);
        Budget { units: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits until there is room. A request for more than there is waits for all of it.
    pub(super) async fn reserve(&self, bytes: u64) -> Result<Share, Failure> {
        let units = units(bytes).min(self.total);
        let permit = Arc::clone(&self.units).acquire_many_owned(units).await.map_err(internal)?;
        Ok(Share { _permit: permit })
    }
}

impl Share {
    /// The bytes, which keep this share until the last clone of them is dropped.
    pub(super) fn hold(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Held { bytes, _share: self })
    }
}

struct Held {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).max(1)
}
