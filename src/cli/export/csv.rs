//! CSV (RFC 4180): the fields of a result in flat columns, the faces as JSON in one of them.

use std::io::{self, Write};

use serde::Serialize;

use super::RowWriter;
use crate::domain::{ImageId, Reason, ResultRow, Status, Timestamp};

pub(super) struct CsvRows<W: Write>(csv::Writer<W>);

/// The columns, in the order of [`COLUMNS`].
#[derive(Serialize)]
struct CsvRow<'a> {
    url: &'a str,
    image_id: ImageId,
    job: &'a str,
    status: Status,
    reason: Option<Reason>,
    detail: Option<&'a str>,
    attempts: u32,
    http_status: Option<u16>,
    content_type: Option<&'a str>,
    content_sha256: Option<&'a str>,
    width: Option<u32>,
    height: Option<u32>,
    orientation: Option<u8>,
    truncated: Option<bool>,
    faces_count: usize,
    faces: String,
    model_name: &'a str,
    model_sha256: &'a str,
    pipeline_version: &'a str,
    pipeline_fingerprint: &'a str,
    pipeline_epoch: Timestamp,
    fetch_us: Option<u64>,
    preprocess_us: Option<u64>,
    detect_us: Option<u64>,
    submitted_at: Timestamp,
    fetched_at: Option<Timestamp>,
    finished_at: Timestamp,
}

/// The header line; written also where no row follows.
const COLUMNS: [&str; 27] = [
    "url",
    "image_id",
    "job",
    "status",
    "reason",
    "detail",
    "attempts",
    "http_status",
    "content_type",
    "content_sha256",
    "width",
    "height",
    "orientation",
    "truncated",
    "faces_count",
    "faces",
    "model_name",
    "model_sha256",
    "pipeline_version",
    "pipeline_fingerprint",
    "pipeline_epoch",
    "fetch_us",
    "preprocess_us",
    "detect_us",
    "submitted_at",
    "fetched_at",
    "finished_at",
];

impl<'a> CsvRow<'a> {
    fn new(row: &'a ResultRow) -> serde_json::Result<Self> {
        Ok(CsvRow {
            url: &row.url,
            image_id: row.image_id,
            job: &row.job,
            status: row.status,
            reason: row.reason,
            detail: row.detail.as_deref(),
            attempts: row.attempts,
            http_status: row.http_status,
            content_type: row.content_type.as_deref(),
            content_sha256: row.content_sha256.as_deref(),
            width: row.width,
            height: row.height,
            orientation: row.orientation,
            truncated: row.truncated,
            faces_count: row.faces.len(),
            faces: serde_json::to_string(&row.faces)?,
            model_name: &row.model.name,
            model_sha256: &row.model.sha256,
            pipeline_version: &row.pipeline.version,
            pipeline_fingerprint: &row.pipeline.fingerprint,
            pipeline_epoch: row.pipeline.epoch,
            fetch_us: row.timings.fetch_us,
            preprocess_us: row.timings.preprocess_us,
            detect_us: row.timings.detect_us,
            submitted_at: row.timestamps.submitted_at,
            fetched_at: row.timestamps.fetched_at,
            finished_at: row.timestamps.finished_at,
        })
    }
}

impl<W: Write> CsvRows<W> {
    pub(super) fn new(output: W) -> io::Result<Self> {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(output);
        writer.write_record(COLUMNS).map_err(io_error)?;
        Ok(CsvRows(writer))
    }
}

impl<W: Write> RowWriter for CsvRows<W> {
    fn row(&mut self, row: ResultRow) -> io::Result<()> {
        self.0.serialize(CsvRow::new(&row)?).map_err(io_error)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()
    }
}

/// Keeps the kind of an input or output error: a closed pipe must be known as one.
fn io_error(error: csv::Error) -> io::Error {
    if !error.is_io_error() {
        return io::Error::other(error);
    }
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_the_columns_in_their_order() {
        let model = crate::domain::Model { name: "m".into(), sha256: "0".repeat(64) };
        let pipeline =
            crate::domain::Pipeline { version: "0".into(), fingerprint: "f".into(), epoch: Timestamp::default() };
        let facts = crate::domain::Facts::submitted("http://a.example/", "job", Timestamp::default());
        let row = ResultRow::detected(facts, vec![], &model, &pipeline);
        let mut with_headers = csv::Writer::from_writer(vec![]);
        with_headers.serialize(CsvRow::new(&row).unwrap()).unwrap();
        let text = String::from_utf8(with_headers.into_inner().unwrap()).unwrap();
        assert_eq!(text.lines().next().unwrap(), COLUMNS.join(","));
    }
}
