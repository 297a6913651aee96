//! Reading rows, many at once and few in memory.

use std::{future::Future, sync::Arc};

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use scylla::{
    client::session::Session,
    deserialize::row::DeserializeRow,
    response::{PagingState, PagingStateResponse},
    serialize::row::SerializeRow,
    statement::prepared::PreparedStatement,
};
use tokio::time::sleep;

use super::{
    JobBuckets, ReadError,
    error::{RequestError, port_error},
    statements::{JOBS_PART, ReadStatements},
};
use crate::{
    domain::{ImageId, ResultRow},
    runner::{RetryPolicy, ports::PortError},
};

/// Attempts at one read, so that one slow node does not end a long export.
const ATTEMPTS: u32 = 6;

/// Buckets of a job that are read at once.
const BUCKETS_AT_ONCE: usize = 8;

/// Rows of a job that are read at once.
const ROWS_AT_ONCE: usize = 64;

/// Slices of the ring of tokens, for a scan of everything, and how many of them are read at once.
const SLICES: i128 = 256;
const SLICES_AT_ONCE: usize = 4;

/// Most jobs that an error names.
const NAMED_JOBS: usize = 20;

/// A session with what is read through it.
pub(super) struct Rows {
    pub session: Session,
    pub statements: ReadStatements,
    pub keyspace: String,
}

impl Rows {
    /// Into how many buckets the job was written: several counts, where the setting was changed meanwhile.
    ///
    /// # Errors
    /// When no row belongs to the job.
    pub(super) async fn buckets(&self, job: &str) -> Result<Vec<JobBuckets>, ReadError> {
        let noted: Vec<(i32,)> = self.all(&self.statements.buckets_of_job, (JOBS_PART, job)).await?;
        let mut counts: Vec<_> = noted.into_iter().filter_map(|(count,)| JobBuckets::from_cql(count)).collect();
        counts.sort();
        if counts.is_empty() {
            let known = self.jobs().await?;
            return Err(ReadError::UnknownJob { keyspace: self.keyspace.clone(), job: job.to_owned(), known });
        }
        Ok(counts)
    }

    /// The first few jobs by name.
    async fn jobs(&self) -> Result<Vec<String>, ReadError> {
        let rows: Vec<(String,)> = self.all(&self.statements.jobs, (JOBS_PART,)).await?;
        let mut jobs: Vec<_> = rows.into_iter().map(|(job,)| job).collect();
        jobs.dedup();
        jobs.truncate(NAMED_JOBS);
        Ok(jobs)
    }

    /// The rows of a job, under its name and in the order of their ids.
    pub(super) fn of_job(
        self: Arc<Self>,
        job: String,
        counts: Vec<JobBuckets>,
    ) -> impl Stream<Item = Result<ResultRow, ReadError>> + Send {
        let coarsest = counts.first().map_or(0, |count| count.count());
        let (rows, name) = (self.clone(), job.clone());
        stream::iter(0..coarsest)
            .map(move |bucket| self.clone().ids(job.clone(), counts.clone(), bucket))
            .buffered(BUCKETS_AT_ONCE)
            .map_ok(|ids| stream::iter(ids.into_iter().map(Ok)))
            .try_flatten()
            .map_ok(move |id| rows.clone().row(id))
            .try_buffered(ROWS_AT_ONCE)
            // An id without a row: its write is under way, or was never finished and will be done again.
            .try_filter_map(move |row| {
                let row = row.map(|row| ResultRow { job: name.clone(), ..row });
                async { Ok(row) }
            })
    }

    /// The ids in one of the coarsest buckets of a job, in their order: that many, and no more, are in memory.
    async fn ids(
        self: Arc<Self>,
        job: String,
        counts: Vec<JobBuckets>,
        bucket: i32,
    ) -> Result<Vec<ImageId>, ReadError> {
        let coarsest = counts.first().copied();
        let mut ids = Vec::new();
        for count in &counts {
            for bucket in count.within(coarsest.unwrap_or(*count), bucket) {
                let found: Vec<(Vec<u8>,)> = self.all(&self.statements.ids_of_job, (&job, bucket)).await?;
                let found = found.into_iter().filter_map(|(id,)| Some(ImageId::from_bytes(id.try_into().ok()?)));
                // The same partition may hold a bucket of another count.
                ids.extend(found.filter(|id| count.of(id) == bucket));
            }
        }
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    async fn row(self: Arc<Self>, id: ImageId) -> Result<Option<ResultRow>, ReadError> {
        let found: Vec<(Option<String>,)> = self.all(&self.statements.result, (id.as_bytes().as_slice(),)).await?;
        match found.into_iter().next() {
            Some((Some(json),)) => self.parse(id.as_bytes(), &json).map(Some),
            _ => Ok(None),
        }
    }

    /// Every row, in no order.
    pub(super) fn everything(self: Arc<Self>) -> impl Stream<Item = Result<ResultRow, ReadError>> + Send {
        stream::iter(slices())
            .map(move |slice| Box::pin(self.clone().slice(slice)))
            .flatten_unordered(SLICES_AT_ONCE)
            .map_ok(|page| stream::iter(page.into_iter().map(Ok)))
            .try_flatten()
    }

    /// The pages of one slice of the ring.
    fn slice(self: Arc<Self>, slice: (i64, i64)) -> impl Stream<Item = Result<Vec<ResultRow>, ReadError>> + Send {
        stream::try_unfold(Some(PagingState::start()), move |state| {
            let rows = self.clone();
            async move {
                let Some(state) = state else { return Ok(None) };
                let (page, next): (Vec<(Vec<u8>, Option<String>)>, _) =
                    rows.page(&rows.statements.results, slice, state).await?;
                let parsed = page.iter().filter_map(|(id, json)| Some(rows.parse(id, json.as_deref()?)));
                Ok(Some((parsed.collect::<Result<Vec<_>, _>>()?, next)))
            }
        })
    }

    fn parse(&self, id: &[u8], json: &str) -> Result<ResultRow, ReadError> {
        serde_json::from_str(json).map_err(|error| ReadError::Row {
            keyspace: self.keyspace.clone(),
            image_id: crate::domain::hex(id),
            cause: error.to_string(),
        })
    }

    /// Every page of an answer that is known to be of a bounded size.
    async fn all<R>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Clone + Send + Sync,
    ) -> Result<Vec<R>, PortError>
    where
        R: for<'row> DeserializeRow<'row, 'row> + Send,
    {
        let (mut all, mut state) = (Vec::new(), Some(PagingState::start()));
        while let Some(here) = state {
            let (page, next) = self.page(statement, values.clone(), here).await?;
            all.extend(page);
            state = next;
        }
        Ok(all)
    }

    /// One page, and where the next one begins.
    async fn page<R>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Clone + Send + Sync,
        state: PagingState,
    ) -> Result<(Vec<R>, Option<PagingState>), PortError>
    where
        R: for<'row> DeserializeRow<'row, 'row> + Send,
    {
        patiently(|| async {
            let asked = self.session.execute_single_page(statement, values.clone(), state.clone());
            let (result, next) = Box::pin(asked).await.map_err(port_error)?;
            let result = result.into_rows_result().map_err(port_error)?;
            let rows = result.rows::<R>().map_err(port_error)?.collect::<Result<Vec<R>, _>>();
            let rows = rows.map_err(RequestError::from).map_err(port_error)?;
            let next = match next {
                PagingStateResponse::HasMorePages { state } => Some(state),
                PagingStateResponse::NoMorePages => None,
            };
            Ok((rows, next))
        })
        .await
    }
}

/// Asks a few times while the answer is that it cannot be had now.
async fn patiently<T, F: Future<Output = Result<T, PortError>>>(ask: impl Fn() -> F) -> Result<T, PortError> {
    for attempt in 1..ATTEMPTS {
        match ask().await {
            Err(PortError::Unavailable(_)) => sleep(RetryPolicy::INFRASTRUCTURE.delay(attempt + 2)).await,
            answer => return answer,
        }
    }
    ask().await
}

/// The ring of tokens in equal parts, ends included.
fn slices() -> impl Iterator<Item = (i64, i64)> {
    let at = |n: i128| i64::try_from(i128::from(i64::MIN) + (n << 64) / SLICES).unwrap_or(i64::MAX);
    (0..SLICES).map(move |n| (at(n), if n + 1 == SLICES { i64::MAX } else { at(n + 1) - 1 }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn the_slices_cover_the_ring_once() {
        let slices: Vec<_> = slices().collect();
        assert_eq!((slices.len(), slices[0].0, slices[255].1), (256, i64::MIN, i64::MAX));
        assert!(slices.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
        assert!(slices.iter().all(|(first, last)| first < last));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_is_asked_for_again_while_it_may_pass_and_not_for_ever() {
        let asked = AtomicU32::new(0);
        let after = |count: u32| {
            let asked = &asked;
            asked.store(0, Ordering::Relaxed);
            patiently(move || async move {
                match asked.fetch_add(1, Ordering::Relaxed) + 1 {
                    n if n < count => Err(PortError::Unavailable("later".to_owned())),
                    n => Ok(n),
                }
            })
        };
        assert_eq!(after(3).await.unwrap(), 3);
        assert!(matches!(after(100).await, Err(PortError::Unavailable(_))));
        let fatal = patiently(|| async { Err::<(), _>(PortError::Fatal("no".to_owned())) });
        assert!(matches!(fatal.await, Err(PortError::Fatal(_))));
    }
}
