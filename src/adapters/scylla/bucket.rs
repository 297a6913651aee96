//! Into which bucket of its job an image belongs.

use crate::domain::ImageId;

/// A number of buckets for each job: a power of two, so that a bucket is the leading bits of the image id.
///
/// Ids are hashes, so the buckets of a job fill evenly, and the buckets in their order hold the ids in theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobBuckets(u32);

/// What the settings have by default: enough for 200 million images.
impl Default for JobBuckets {
    fn default() -> Self {
        JobBuckets(4096)
    }
}

impl JobBuckets {
    /// The most that may be configured: 2^20.
    pub const MAX: u32 = 1 << 20;

    /// From a count; `None` for one that is no power of two up to [`JobBuckets::MAX`].
    pub fn new(count: u32) -> Option<Self> {
        (count.is_power_of_two() && count <= Self::MAX).then_some(JobBuckets(count))
    }

    /// As a table stores it.
    pub(super) fn from_cql(count: i32) -> Option<Self> {
        u32::try_from(count).ok().and_then(Self::new)
    }

    /// The count, as a table stores it.
    pub(super) fn count(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }

    /// The bucket of an image: the leading bits of its id.
    pub(super) fn of(self, id: &ImageId) -> i32 {
        let [first, second, third, ..] = id.as_bytes();
        let leading = i32::from_be_bytes([0, *first, *second, *third]);
        leading >> (24 - self.0.trailing_zeros())
    }

    /// The buckets that hold what one bucket of a coarser count holds.
    pub(super) fn within(self, coarser: JobBuckets, bucket: i32) -> std::ops::Range<i32> {
        let each = self.count() / coarser.count();
        bucket * each..(bucket + 1) * each
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(count: u32) -> JobBuckets {
        JobBuckets::new(count).unwrap()
    }

    fn id(first: [u8; 4]) -> ImageId {
        let mut bytes = [0xa5; 16];
        bytes[..4].copy_from_slice(&first);
        ImageId::from_bytes(bytes)
    }

    #[test]
    fn a_bucket_is_the_leading_bits_and_never_changes() {
        // Stored keys: if these values ever change, readers no longer find what was written.
        let image = id([0xab, 0xcd, 0xef, 0x12]);
        for (count, bucket) in [(1, 0), (2, 1), (16, 0xa), (4096, 0xabc), (65_536, 0xabcd), (1 << 20, 0xabcde)] {
            assert_eq!(buckets(count).of(&image), bucket, "{count}");
        }
        assert_eq!(buckets(4096).of(&id([0; 4])), 0);
        assert_eq!(buckets(4096).of(&id([0xff; 4])), 4095);
        assert_eq!(buckets(4096).of(&ImageId::of("https://example.com/a.jpg")), 0x172);
    }

    #[test]
    fn only_powers_of_two_are_counts() {
        for count in [0, 3, 4095, (1 << 20) + 1, 1 << 21, u32::MAX] {
            assert_eq!(JobBuckets::new(count), None, "{count}");
        }
        assert_eq!(JobBuckets::from_cql(-4096), None);
        assert_eq!(JobBuckets::from_cql(4096), Some(buckets(4096)));
    }

    #[test]
    fn ids_spread_evenly_over_the_buckets() {
        let mut filled = vec![0; 64];
        (0..6_400).for_each(|n| filled[buckets(64).of(&ImageId::of(format!("http://a.example/{n}"))) as usize] += 1);
        assert!(filled.iter().all(|count| (50..160).contains(count)), "{filled:?}");
    }

    #[test]
    fn finer_buckets_lie_within_the_coarser_ones() {
        let (coarse, fine) = (buckets(16), buckets(256));
        for n in 0..1_000 {
            let id = ImageId::of(format!("{n}"));
            assert!(fine.within(coarse, coarse.of(&id)).contains(&fine.of(&id)));
        }
        assert_eq!(fine.within(coarse, 15), 240..256);
        assert_eq!(coarse.within(coarse, 3), 3..4);
    }
}
