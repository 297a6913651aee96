//! Apache Parquet: the nested form of a result, its times as UTC timestamps.

use std::{
    io::{self, Write},
    sync::Arc,
};

use arrow_json::reader::{Decoder, ReaderBuilder};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};

use super::RowWriter;
use crate::domain::ResultRow;

/// Bounds of what is turned into columns at once, by way of a form several times its size.
const BATCH_ROWS: usize = 1024;
const BATCH_FACES: usize = 16 * 1024;

/// Bounds of a row group, which is held in memory until it is full: a group of rows with many faces is cut by
/// its encoded size.
const ROW_GROUP_ROWS: usize = 128 * 1024;
const ROW_GROUP_BYTES: usize = 32 * 1024 * 1024;

pub(super) struct ParquetRows<W: Write + Send> {
    rows: Vec<ResultRow>,
    faces: usize,
    decoder: Decoder,
    writer: ArrowWriter<W>,
}

impl<W: Write + Send> ParquetRows<W> {
    pub(super) fn new(output: W) -> io::Result<Self> {
        let schema = schema();
        // Strict: a field that the schema does not know is an error here, not lost in the file.
        let decoder = ReaderBuilder::new(schema.clone())
            .with_batch_size(BATCH_ROWS)
            .with_strict_mode(true)
            .build_decoder()
            .map_err(arrow_error)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .set_created_by(concat!("facemill ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        // Parquet's own types say all; with Arrow's beside them readers would show the zone as "+00:00".
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(output, schema, options).map_err(io_error)?;
        Ok(ParquetRows { rows: Vec::new(), faces: 0, decoder, writer })
    }

    fn write_batch(&mut self) -> io::Result<()> {
        self.decoder.serialize(&self.rows).map_err(arrow_error)?;
        self.rows.clear();
        self.faces = 0;
        match self.decoder.flush().map_err(arrow_error)? {
            Some(batch) => self.writer.write(&batch).map_err(io_error),
            None => Ok(()),
        }
    }
}

impl<W: Write + Send> RowWriter for ParquetRows<W> {
    fn row(&mut self, row: ResultRow) -> io::Result<()> {
        self.faces += row.faces.len();
        self.rows.push(row);
        if self.rows.len() < BATCH_ROWS && self.faces < BATCH_FACES { Ok(()) } else { self.write_batch() }
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.write_batch()?;
        let mut output = self.writer.into_inner().map_err(io_error)?;
        output.flush()
    }
}

/// The columns: [`ResultRow`] as it is written in JSON. Integers are signed 64-bit ones, which every reader of
/// Parquet knows.
pub(super) fn schema() -> SchemaRef {
    let required = |name: &str, data_type: DataType| Field::new(name, data_type, false);
    let optional = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    let list = |of: DataType| DataType::List(Arc::new(Field::new_list_field(of, false)));
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let number = |name: &str| required(name, DataType::Float32);
    let point = DataType::Struct(vec![number("x"), number("y")].into());
    let face = DataType::Struct(
        vec![
            number("x"),
            number("y"),
            number("width"),
            number("height"),
            number("score"),
            required("landmarks", list(point)),
        ]
        .into(),
    );
    let model = vec![required("name", DataType::Utf8), required("sha256", DataType::Utf8)];
    let pipeline =
        vec![required("version", DataType::Utf8), required("fingerprint", DataType::Utf8), required("epoch", time())];
    let timings = vec![
        optional("fetch_us", DataType::Int64),
        optional("preprocess_us", DataType::Int64),
        optional("detect_us", DataType::Int64),
    ];
    let timestamps =
        vec![required("submitted_at", time()), optional("fetched_at", time()), required("finished_at", time())];
    Arc::new(Schema::new(vec![
        required("url", DataType::Utf8),
        required("image_id", DataType::Utf8),
        required("job", DataType::Utf8),
        required("status", DataType::Utf8),
        optional("reason", DataType::Utf8),
        optional("detail", DataType::Utf8),
        required("attempts", DataType::Int64),
        optional("http_status", DataType::Int64),
        optional("content_type", DataType::Utf8),
        optional("content_sha256", DataType::Utf8),
        optional("width", DataType::Int64),
        optional("height", DataType::Int64),
        optional("orientation", DataType::Int64),
        optional("truncated", DataType::Boolean),
        required("faces", list(face)),
        required("model", DataType::Struct(model.into())),
        required("pipeline", DataType::Struct(pipeline.into())),
        required("timings", DataType::Struct(timings.into())),
        required("timestamps", DataType::Struct(timestamps.into())),
    ]))
}

fn arrow_error(error: ArrowError) -> io::Error {
    io::Error::other(error)
}

/// Unwraps an input or output error: a closed pipe must be known as one.
fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => cause.downcast().map_or_else(io::Error::other, |error| *error),
        error => io::Error::other(error),
    }
}
