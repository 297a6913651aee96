//! What all the rows come to.

use std::collections::BTreeMap;

use rusqlite::{Connection, named_params};
use serde::Serialize;

use super::{error::ReadError, reader::SqliteReader, schema::reason};
use crate::domain::{Reason, Timestamp};

/// Totals over the rows of one job, or of all.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Summary {
    /// The job, or nothing for all of them.
    pub job: Option<String>,
    /// Rows.
    pub total: u64,
    /// Rows by status.
    pub by_status: StatusCounts,
    /// Failed rows by reason; a reason that did not occur is left out.
    pub by_reason: BTreeMap<Reason, u64>,
    /// Rows with at least one face.
    pub pictures_with_faces: u64,
    /// Faces in all rows.
    pub faces: u64,
    /// How long the stages held the URLs, waiting for a connection, the host or a thread included.
    pub latency_ms: LatencyByStage,
    /// The earliest time at which an outcome was known.
    pub first_finished_at: Option<Timestamp>,
    /// The latest time at which an outcome was known.
    pub last_finished_at: Option<Timestamp>,
}

/// Rows by status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct StatusCounts {
    /// The detector ran.
    pub detected: u64,
    /// It did not come to that.
    pub failed: u64,
}

/// Latencies of each stage; nothing for a stage that no URL reached.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LatencyByStage {
    /// URL in, bytes out.
    pub fetch: Option<Percentiles>,
    /// Bytes in, frame out.
    pub preprocess: Option<Percentiles>,
    /// Frame in, faces out.
    pub detect: Option<Percentiles>,
}

/// Percentiles in milliseconds, by nearest rank and to four significant digits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of the values are at most this.
    pub p50: f64,
    /// 95 in 100 values are at most this.
    pub p95: f64,
    /// 99 in 100 values are at most this.
    pub p99: f64,
    /// The largest value.
    pub max: f64,
}

impl SqliteReader {
    /// Sums up the rows that `job` asked for, or all rows, as the database is at this moment. One pass.
    ///
    /// # Errors
    /// When no row belongs to the job, or reading fails.
    pub fn summary(&self, job: Option<&str>) -> Result<Summary, ReadError> {
        self.check_job(job)?;
        summarise(&self.connection, job).map_err(|error| self.failed(error))
    }
}

fn summarise(connection: &Connection, job: Option<&str>) -> rusqlite::Result<Summary> {
    let mut summary = Summary { job: job.map(str::to_owned), ..Summary::default() };
    let (mut fetch, mut preprocess, mut detect) = (Latencies::default(), Latencies::default(), Latencies::default());
    let mut statement = connection.prepare(&format!(
        "SELECT reason, faces_count, finished_at, fetch_us, preprocess_us, detect_us FROM {}",
        match job {
            None => "results WHERE :job IS NULL",
            Some(_) => "jobs JOIN results USING (image_id) WHERE job = :job",
        }
    ))?;
    let mut rows = statement.query(named_params! { ":job": job })?;
    while let Some(row) = rows.next()? {
        summary.total += 1;
        match reason(row, 0)? {
            None => summary.by_status.detected += 1,
            Some(reason) => {
                summary.by_status.failed += 1;
                *summary.by_reason.entry(reason).or_default() += 1;
            }
        }
        let faces: u32 = row.get(1)?;
        summary.faces += u64::from(faces);
        summary.pictures_with_faces += u64::from(faces > 0);
        let finished_at = Timestamp::from_micros(row.get(2)?);
        summary.first_finished_at = Some(summary.first_finished_at.map_or(finished_at, |first| first.min(finished_at)));
        summary.last_finished_at = summary.last_finished_at.max(Some(finished_at));
        for (column, latencies) in [(3, &mut fetch), (4, &mut preprocess), (5, &mut detect)] {
            if let Some(micros) = row.get::<_, Option<i64>>(column)? {
                latencies.add(micros.unsigned_abs());
            }
        }
    }
    summary.latency_ms = LatencyByStage {
        fetch: fetch.percentiles(),
        preprocess: preprocess.percentiles(),
        detect: detect.percentiles(),
    };
    Ok(summary)
}

/// How often which latency occurred, to four significant digits: at most 9,000 counts for each power of ten,
/// however many rows there are.
#[derive(Default)]
struct Latencies {
    counts: BTreeMap<u64, u64>,
    total: u64,
    max: u64,
}

impl Latencies {
    fn add(&mut self, micros: u64) {
        let unit = 10u64.pow(micros.max(1).ilog10().saturating_sub(3));
        *self.counts.entry(micros / unit * unit).or_default() += 1;
        self.total += 1;
        self.max = self.max.max(micros);
    }

    fn percentiles(&self) -> Option<Percentiles> {
        (self.total > 0).then(|| Percentiles {
            p50: self.percentile(50),
            p95: self.percentile(95),
            p99: self.percentile(99),
            max: milliseconds(self.max),
        })
    }

    /// The smallest latency that this many in a hundred do not exceed.
    fn percentile(&self, percent: u64) -> f64 {
        let rank = (self.total * percent).div_ceil(100);
        let mut passed = 0;
        let reached = self.counts.iter().find(|(_, count)| {
            passed += **count;
            passed >= rank
        });
        milliseconds(reached.map_or(self.max, |(micros, _)| *micros))
    }
}

fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adapters::sqlite::{SqliteStore, fixtures::*},
        runner::ports::ResultStore,
    };

    #[tokio::test]
    async fn summary_counts_every_row_and_ranks_its_latencies() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let store = SqliteStore::open(&path).unwrap();
        for n in 1..=100 {
            let faces = match n % 4 {
                0 => vec![face(1.0)],
                2 => vec![face(1.0); 3],
                _ => vec![],
            };
            store.write(&detected(n, "cats", faces)).await.unwrap();
        }
        for n in 101..=103 {
            store.write(&failed(n, "dogs", Reason::NotAnImage)).await.unwrap();
        }
        store.write(&failed(104, "dogs", Reason::DnsFailed)).await.unwrap();
        let joined = detected(7, "cats", vec![]).image_id;
        store.join("dogs", &joined).await.unwrap();

        let reader = SqliteReader::open(&path).unwrap();
        let cats = reader.summary(Some("cats")).unwrap();
        assert_eq!((cats.total, cats.by_status.detected, cats.by_status.failed), (100, 100, 0));
        assert_eq!((cats.pictures_with_faces, cats.faces), (50, 100));
        assert_eq!(cats.latency_ms.fetch, Some(Percentiles { p50: 50.0, p95: 95.0, p99: 99.0, max: 100.0 }));
        assert_eq!(cats.latency_ms.detect, Some(Percentiles { p50: 0.5, p95: 0.95, p99: 0.99, max: 1.0 }));

        let dogs = reader.summary(Some("dogs")).unwrap();
        assert_eq!((dogs.total, dogs.by_status.detected, dogs.by_status.failed), (5, 1, 4));
        assert_eq!(dogs.by_reason, BTreeMap::from([(Reason::NotAnImage, 3), (Reason::DnsFailed, 1)]));
        assert_eq!(dogs.latency_ms.preprocess, Some(Percentiles { p50: 0.7, p95: 0.7, p99: 0.7, max: 0.7 }));
        assert_eq!(dogs.latency_ms.fetch.map(|fetch| (fetch.p50, fetch.max)), Some((102.0, 104.0)));

        let all = reader.summary(None).unwrap();
        assert_eq!((all.job, all.total), (None, 104), "a row that two jobs share counts once");
        assert!(all.first_finished_at.is_some() && all.first_finished_at <= all.last_finished_at);
        assert!(matches!(reader.summary(Some("cows")), Err(ReadError::UnknownJob { .. })));
    }

    #[test]
    fn latencies_keep_four_digits_and_bounded_memory() {
        let mut latencies = Latencies::default();
        (0..1_000_000).map(|n| n * 17).for_each(|micros| latencies.add(micros));
        let Percentiles { p50, p95, p99, max } = latencies.percentiles().unwrap();
        for (found, exact) in [(p50, 8_499.983), (p95, 16_149.983), (p99, 16_829.983)] {
            assert!(found <= exact && found > exact * 0.999, "{found} for {exact}");
        }
        assert_eq!(max, 16_999.983, "the largest is exact");
        assert!(latencies.counts.len() < 50_000, "{}", latencies.counts.len());
        latencies.add(u64::MAX);
    }

    #[test]
    fn summary_of_nothing_is_all_zero() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        SqliteStore::open(&path).unwrap().close().unwrap();
        assert_eq!(SqliteReader::open(&path).unwrap().summary(None).unwrap(), Summary::default());
    }
}
