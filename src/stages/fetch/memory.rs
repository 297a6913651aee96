use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits are counted in KiB: a semaphore hands out at most 2^32 at once.
const UNIT: usize = 1024;

/// 1 TiB.
const MAX_UNITS: u32 = 1 << 30;

/// Bounds the memory of all bodies, from their first byte until the last stage that holds one lets go of it.
///
/// A body takes more as it grows, so that a server which promises much and sends little holds little. Bodies
/// that hold a part and wait for more could then wait for each other for ever; therefore one of them at a time
/// may go over the bound, by its whole size. It always ends, and so in the end does every other.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    units: Arc<Semaphore>,
    total: u32,
    overdraft: Arc<Semaphore>,
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        let total = units(bytes).max(1);
        Memory { units: Arc::new(Semaphore::new(total as usize)), total, overdraft: Arc::new(Semaphore::new(1)) }
    }

    /// Memory for one body: none yet.
    pub(super) fn reserve(&self) -> Reservation {
        Reservation { memory: self.clone(), held: None, overdraft: None }
    }
}

/// One body's share, given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    memory: Memory,
    held: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl Reservation {
    /// Waits until this body may hold `bytes` in all.
    pub(super) async fn grow_to(&mut self, bytes: usize) {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = units(bytes).saturating_sub(u32::try_from(held).unwrap_or(u32::MAX));
        if more == 0 || self.overdraft.is_some() {
            return;
        }
        // A wish that can never be granted would block the queue for those behind it.
        let grantable = more <= self.memory.total;
        tokio::select! {
            biased;
            Ok(permit) = Arc::clone(&self.memory.units).acquire_many_owned(more), if grantable => match &mut self.held {
                Some(held) => held.merge(permit),
                none => *none = Some(permit),
            },
            Ok(permit) = Arc::clone(&self.memory.overdraft).acquire_owned() => {
                self.overdraft = Some(permit);
                // The overdraft covers all of it: the share goes to those who wait.
                self.held = None;
            }
            // Neither semaphore is ever closed.
            else => {}
        }
    }
}

/// The finished body, which keeps its share until the last clone of the result is dropped.
pub(super) fn hold(body: Vec<u8>, share: Reservation) -> Bytes {
    Bytes::from_owner(Held { body, _share: share })
}

struct Held {
    body: Vec<u8>,
    _share: Reservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(MAX_UNITS)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test]
    async fn bodies_within_the_bound_do_not_wait_and_give_everything_back() {
        let memory = Memory::new(10 * UNIT);
        let (mut a, mut b) = (memory.reserve(), memory.reserve());
        a.grow_to(4 * UNIT).await;
        b.grow_to(5 * UNIT).await;
        a.grow_to(5 * UNIT).await;
        assert_eq!(memory.units.available_permits(), 0);
        drop((a, b));
        assert_eq!(memory.units.available_permits(), 10);
        assert_eq!(memory.overdraft.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_finished_body_keeps_its_share_until_the_last_holder_lets_go() {
        let memory = Memory::new(10 * UNIT);
        let mut share = memory.reserve();
        share.grow_to(3 * UNIT).await;
        let body = hold(vec![7; 3000], share);
        let clone = body.clone();
        drop(body);
        assert_eq!((clone.len(), memory.units.available_permits()), (3000, 7));
        drop(clone);
        assert_eq!(memory.units.available_permits(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_bound_one_body_goes_on_and_the_next_waits_for_it() {
        let memory = Memory::new(2 * UNIT);
        let (mut a, mut b, mut c) = (memory.reserve(), memory.reserve(), memory.reserve());
        a.grow_to(UNIT).await;
        b.grow_to(UNIT).await;
        // Over the bound, by all it needs; its share is free again.
        a.grow_to(1000 * UNIT).await;
        assert_eq!(memory.units.available_permits(), 1);
        c.grow_to(UNIT).await;
        assert!(timeout(Duration::from_secs(60), b.grow_to(2 * UNIT)).await.is_err(), "memory is full");
        drop(a);
        timeout(Duration::from_secs(60), b.grow_to(2 * UNIT)).await.expect("the overdraft is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn many_bodies_that_all_grow_past_the_bound_all_end() {
        let memory = Arc::new(Memory::new(8 * UNIT));
        let bodies: Vec<_> = (0..50)
            .map(|_| {
                let memory = Arc::clone(&memory);
                tokio::spawn(async move {
                    let mut share = memory.reserve();
                    for kib in 1..=20 {
                        share.grow_to(kib * UNIT).await;
                        sleep(Duration::from_millis(1)).await;
                    }
                })
            })
            .collect();
        for body in bodies {
            timeout(Duration::from_secs(600), body).await.expect("a deadlock").unwrap();
        }
        assert_eq!((memory.units.available_permits(), memory.overdraft.available_permits()), (8, 1));
    }
}
