//! `facemill export`: stored results as JSON Lines, CSV or Parquet.

mod csv;
mod jsonl;
mod parquet;

use std::{
    fs::{self, File},
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use self::{csv::CsvRows, jsonl::JsonLines, parquet::ParquetRows};
use super::{CliError, ConfigArgs, cql::scylla_options};
use crate::{
    adapters::{
        scylla::{ConnectError, ReadError as CqlReadError, ScyllaReader},
        sqlite::{OpenError, ReadError, SqliteReader},
    },
    domain::{ResultRow, Status},
};

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

/// The name that stands for standard output.
const STDOUT: &str = "-";

/// Write stored results as JSON Lines, CSV or Parquet
///
/// Rows are streamed: memory does not grow with their number. From SQLite they come in the order of their image ids,
/// and a run that writes to the database at the same time is not disturbed; the export shows the moment at which it
/// began. From CQL (ScyllaDB, Cassandra) the rows of a job come in the order of their image ids and all rows in no
/// order, and a row that is written during the export may be in it or not.
///
/// One line of JSON Lines is one object by schemas/result.schema.json. CSV has the same fields in flat columns,
/// the faces as JSON in one of them. Parquet keeps the nested form, with real timestamps.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Where the results are
    #[arg(long, value_enum, default_value_t = StoreKind::Sqlite)]
    pub store: StoreKind,
    /// The result database, for --store sqlite
    #[arg(long, value_name = "PATH", default_value = "facemill.db")]
    pub db: PathBuf,
    /// Only what this job asked for
    #[arg(long, value_name = "NAME")]
    pub job: Option<String>,
    /// Only results that ended so
    #[arg(long, value_enum, value_name = "STATUS")]
    pub status: Option<StatusFilter>,
    /// How to write them
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    pub format: Format,
    /// Where to write them; - is standard output
    #[arg(long, value_name = "FILE", default_value = STDOUT)]
    pub output: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
}

/// The values of `--store`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// The database file of `facemill local`
    Sqlite,
    /// The keyspace of `facemill run`, as the settings under [cql] say
    Cql,
}

/// The values of `--status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatusFilter {
    /// The detector ran, whether it found faces or not
    Detected,
    /// It did not come to that
    Failed,
}

impl From<StatusFilter> for Status {
    fn from(filter: StatusFilter) -> Self {
        match filter {
            StatusFilter::Detected => Status::Detected,
            StatusFilter::Failed => Status::Failed,
        }
    }
}

/// The values of `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Jsonl,
    /// Comma-separated values with a header line (RFC 4180)
    Csv,
    /// Apache Parquet, compressed with zstd
    Parquet,
}

/// Why an export came to nothing, or to a part only.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The keyspace cannot be read from.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The keyspace cannot be read to the end.
    #[error(transparent)]
    ReadCql(#[from] CqlReadError),
    /// Parquet is no text.
    #[error("Parquet is binary and standard output is a terminal: give --output FILE, or pipe it somewhere")]
    Terminal,
    /// The output would destroy what is read.
    #[error("{}: this is the database itself: give --output another file", .0.display())]
    OutputIsDatabase(PathBuf),
    /// The output cannot be created.
    #[error("{}: cannot create the file ({cause}): check its folder, or give --output another file", path.display())]
    Create {
        /// The output.
        path: PathBuf,
        /// What the system answered.
        cause: io::Error,
    },
    /// The output cannot be written to the end.
    #[error(
        "{output}: the export is not complete ({cause}): free space or give --output another file, and export again"
    )]
    Write {
        /// The output.
        output: String,
        /// What the system or the encoder answered.
        cause: io::Error,
    },
}

/// One format's way to write rows.
trait RowWriter {
    /// Writes one row, now or with later ones.
    fn row(&mut self, row: ResultRow) -> io::Result<()>;

    /// Writes what is left; without it the output is not complete.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// A store's way to read rows.
trait Rows {
    /// Whether any row belongs to the job.
    fn check_job(&self, job: Option<&str>) -> Result<(), ExportError>;

    /// Calls `each` with every row.
    fn rows(
        &self,
        job: Option<&str>,
        status: Option<Status>,
        each: &mut dyn FnMut(ResultRow) -> Result<(), ExportError>,
    ) -> Result<(), ExportError>;
}

impl Rows for SqliteReader {
    fn check_job(&self, job: Option<&str>) -> Result<(), ExportError> {
        Ok(self.check_job(job)?)
    }

    fn rows(
        &self,
        job: Option<&str>,
        status: Option<Status>,
        each: &mut dyn FnMut(ResultRow) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        self.rows(job, status, each)
    }
}

impl Rows for ScyllaReader {
    fn check_job(&self, job: Option<&str>) -> Result<(), ExportError> {
        Ok(self.check_job(job)?)
    }

    fn rows(
        &self,
        job: Option<&str>,
        status: Option<Status>,
        each: &mut dyn FnMut(ResultRow) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        self.rows(job, status, each)
    }
}

/// Runs the command.
pub(super) fn run(args: &ExportArgs) -> Result<(), CliError> {
    match args.store {
        StoreKind::Sqlite => run_on(&SqliteReader::open(&args.db).map_err(ExportError::from)?, args)?,
        StoreKind::Cql => {
            let settings = args.config.load()?.settings.cql;
            run_on(&ScyllaReader::open(&scylla_options(&settings)).map_err(ExportError::from)?, args)?;
        }
    }
    Ok(())
}

fn run_on(reader: &dyn Rows, args: &ExportArgs) -> Result<(), ExportError> {
    // First: an export that cannot begin touches no file.
    reader.check_job(args.job.as_deref())?;
    let output = args.output.as_path();
    if output == Path::new(STDOUT) {
        if args.format == Format::Parquet && io::stdout().is_terminal() {
            return Err(ExportError::Terminal);
        }
        return export(reader, args, buffered(io::stdout()));
    }
    if args.store == StoreKind::Sqlite
        && let (Ok(output_file), Ok(db_file)) = (fs::canonicalize(output), fs::canonicalize(&args.db))
        && output_file == db_file
    {
        return Err(ExportError::OutputIsDatabase(output.to_owned()));
    }
    // A device, a pipe, or a link such as /dev/stdout stays what it is.
    let in_place = fs::symlink_metadata(output).is_ok_and(|there| !there.is_file());
    if in_place {
        let file = File::create(output).map_err(|cause| ExportError::Create { path: output.to_owned(), cause })?;
        return export(reader, args, buffered(file));
    }
    replace(output, |file| export(reader, args, buffered(file)))
}

fn buffered<W: Write>(output: W) -> BufWriter<W> {
    BufWriter::with_capacity(BUFFER_BYTES, output)
}

/// Has a new file written beside `output` and moves it there when it is whole: until then, and after a failure, an
/// earlier export stays.
fn replace(output: &Path, write: impl FnOnce(&File) -> Result<(), ExportError>) -> Result<(), ExportError> {
    let mut unfinished = output.as_os_str().to_owned();
    unfinished.push(format!(".{}.part", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    let file = File::create(&unfinished).map_err(|cause| ExportError::Create { path: output.to_owned(), cause })?;
    let moved = || {
        file.sync_all()?;
        fs::rename(&unfinished, output)
    };
    let result = write(&file)
        .and_then(|()| moved().map_err(|cause| ExportError::Write { output: output.display().to_string(), cause }));
    if result.is_err() {
        // What is wrong is said by the first error.
        let _ = fs::remove_file(&unfinished);
    }
    result
}

/// Writes the rows that `args` asks for. Whoever closes the pipe early (`| head`) has what he wanted: no error.
fn export<W: Write + Send>(reader: &dyn Rows, args: &ExportArgs, output: W) -> Result<(), ExportError> {
    let failed = |cause| {
        let to_stdout = args.output == Path::new(STDOUT);
        let output = if to_stdout { "standard output".to_owned() } else { args.output.display().to_string() };
        ExportError::Write { output, cause }
    };
    let write_rows = || {
        let mut writer: Box<dyn RowWriter + '_> = match args.format {
            Format::Jsonl => Box::new(JsonLines::new(output)),
            Format::Csv => Box::new(CsvRows::new(output).map_err(failed)?),
            Format::Parquet => Box::new(ParquetRows::new(output).map_err(failed)?),
        };
        let mut each = |row| writer.row(row).map_err(failed);
        reader.rows(args.job.as_deref(), args.status.map(Status::from), &mut each)?;
        writer.finish().map_err(failed)
    };
    match write_rows() {
        Err(ExportError::Write { cause, .. }) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use ::parquet::{
        arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
        file::metadata::ParquetMetaData,
    };
    use bytes::Bytes;
    use clap::Parser;
    use tempfile::TempDir;

    use super::*;
    use crate::{
        adapters::sqlite::{SqliteStore, fixtures::*},
        domain::{Point, Reason},
        runner::ports::ResultStore,
    };

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        export: ExportArgs,
    }

    fn args(line: &str) -> ExportArgs {
        CommandLine::try_parse_from(format!("export {line}").split_whitespace()).unwrap().export
    }

    fn run(args: &ExportArgs) -> Result<(), ExportError> {
        run_on(&SqliteReader::open(&args.db)?, args)
    }

    /// A database of these rows, which holds the last of them for a second job "dogs" too.
    fn stored(rows: &[ResultRow]) -> (TempDir, SqliteReader) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let store = SqliteStore::open(&path).unwrap();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            for row in rows {
                store.write(row).await.unwrap();
            }
            if let Some(row) = rows.last() {
                store.join("dogs", &row.image_id).await.unwrap();
            }
        });
        store.close().unwrap();
        let reader = SqliteReader::open(&path).unwrap();
        (folder, reader)
    }

    /// Detected and failed rows, in the order of an export.
    fn mixed() -> Vec<ResultRow> {
        let mut rows: Vec<_> = (0..50).map(|n| detected(n, "cats", vec![face(-0.1); n as usize % 4])).collect();
        rows.extend((50..60).map(|n| failed(n, "cats", Reason::HttpClientError)));
        rows.sort_by_key(|row| row.image_id);
        rows
    }

    fn exported(reader: &SqliteReader, line: &str) -> Vec<u8> {
        let mut output = Vec::new();
        export(reader, &args(line), &mut output).unwrap();
        output
    }

    fn lines(text: &[u8]) -> Vec<ResultRow> {
        std::str::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn json_lines_are_the_rows_in_the_order_of_their_ids() {
        let rows = mixed();
        let (_folder, reader) = stored(&rows);
        assert_eq!(lines(&exported(&reader, "")), rows);
    }

    #[test]
    fn filters_select_by_job_and_status() {
        let rows = mixed();
        let (_folder, reader) = stored(&rows);
        let failed = lines(&exported(&reader, "--status failed"));
        assert_eq!(failed.len(), 10);
        assert!(failed.iter().all(|row| row.status == Status::Failed));
        assert_eq!(lines(&exported(&reader, "--status detected --job cats")).len(), 50);
        let dogs = lines(&exported(&reader, "--job dogs"));
        assert_eq!(dogs, [ResultRow { job: "dogs".into(), ..rows.last().unwrap().clone() }]);
        let unknown = export(&reader, &args("--job cows"), io::sink()).unwrap_err();
        assert!(matches!(unknown, ExportError::Read(ReadError::UnknownJob { .. })), "{unknown:?}");
    }

    #[test]
    fn csv_quotes_what_would_break_it_and_reads_back() {
        let mut odd = failed(1, "cats, \"dogs\"\nand\r\nmore", Reason::InvalidUrl);
        odd.url = "no url, \"at all\"\n".into();
        let with_faces = detected(2, "cats", vec![face(1.0), face(2.0)]);
        let mut rows = [odd, with_faces];
        rows.sort_by_key(|row| row.image_id);
        let (_folder, reader) = stored(&rows);
        let output = exported(&reader, "--format csv");
        let mut records = ::csv::Reader::from_reader(output.as_slice());
        let columns: Vec<String> = records.headers().unwrap().iter().map(str::to_owned).collect();
        let mut count = 0;
        for (record, row) in records.records().zip(&rows) {
            let record = record.unwrap();
            let cell = |name: &str| &record[columns.iter().position(|column| column == name).unwrap()];
            assert_eq!((cell("url"), cell("job")), (row.url.as_str(), row.job.as_str()));
            assert_eq!(cell("reason"), row.reason.map_or("", Reason::as_str));
            assert_eq!(cell("faces_count"), row.faces.len().to_string());
            assert_eq!(serde_json::from_str::<Vec<crate::domain::Face>>(cell("faces")).unwrap(), row.faces);
            assert_eq!(cell("finished_at"), row.timestamps.finished_at.to_string());
            count += 1;
        }
        assert_eq!(count, 2);
    }

    #[test]
    fn an_export_of_nothing_is_still_of_its_format() {
        let (_folder, reader) = stored(&[]);
        assert_eq!(exported(&reader, ""), b"");
        assert!(exported(&reader, "--format csv").starts_with(b"url,image_id,job,"));
        let (metadata, rows) = read_parquet(exported(&reader, "--format parquet"));
        assert_eq!((metadata.file_metadata().num_rows(), rows), (0, vec![]));
    }

    fn read_parquet(file: Vec<u8>) -> (ParquetMetaData, Vec<ResultRow>) {
        // The Arrow of these tests knows zones by their offset only.
        let options = ArrowReaderOptions::new().with_schema(parquet::schema());
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(Bytes::from(file), options).unwrap();
        let metadata = builder.metadata().as_ref().clone();
        let mut text = arrow_json::LineDelimitedWriter::new(Vec::new());
        for batch in builder.build().unwrap() {
            text.write(&batch.unwrap()).unwrap();
        }
        text.finish().unwrap();
        (metadata, lines(&text.into_inner()))
    }

    #[test]
    fn parquet_holds_the_same_rows_nested_and_typed() {
        let rows = mixed();
        let (_folder, reader) = stored(&rows);
        let (metadata, read) = read_parquet(exported(&reader, "--format parquet"));
        assert_eq!(read, rows);
        let schema = metadata.file_metadata().schema_descr();
        let column = schema.columns().iter().find(|column| column.path().string() == "timestamps.finished_at").unwrap();
        let logical = format!("{:?}", column.logical_type_ref());
        assert!(logical.contains("is_adjusted_to_u_t_c: true") && logical.contains("MICROS"), "{logical}");
    }

    #[test]
    fn parquet_row_groups_are_cut_before_they_fill_the_memory() {
        let mut file = Vec::new();
        let mut writer = Box::new(ParquetRows::new(&mut file).unwrap());
        // 1,000 faces a row with numbers that do not compress.
        let random_face = |_| {
            let mut face = face(fastrand::f32());
            face.landmarks = face.landmarks.map(|_| Point { x: fastrand::f32(), y: fastrand::f32() });
            face
        };
        for n in 0..800 {
            writer.row(detected(n, "cats", (0..1_000).map(random_face).collect())).unwrap();
        }
        writer.finish().unwrap();
        let metadata = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap().metadata().clone();
        let sizes: Vec<i64> = metadata.row_groups().iter().map(|group| group.compressed_size()).collect();
        assert!(sizes.len() > 1 && sizes.iter().all(|size| *size < 40 << 20), "{sizes:?}");
    }

    /// A pipe whose reader goes away after some bytes.
    struct ClosedPipe(usize);

    impl Write for ClosedPipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A disk without space.
    struct FullDisk;

    impl Write for FullDisk {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_a_quiet_end_and_a_full_disk_is_not() {
        let (_folder, reader) = stored(&mixed());
        for format in ["jsonl", "csv", "parquet"] {
            let args = args(&format!("--format {format}"));
            for bytes in [0, 5, 3_000] {
                export(&reader, &args, ClosedPipe(bytes)).unwrap();
            }
            let error = export(&reader, &args, FullDisk).unwrap_err();
            assert!(error.to_string().starts_with("standard output: the export is not complete"), "{format}: {error}");
        }
    }

    #[test]
    fn a_file_is_written_only_when_the_database_can_be_read() {
        let rows = mixed();
        let (folder, _reader) = stored(&rows);
        let (db, output) = (folder.path().join("x.db"), folder.path().join("x.jsonl"));
        let to_file =
            |db: &Path, output: &Path| run(&args(&format!("--db {} --output {}", db.display(), output.display())));
        to_file(&db, &output).unwrap();
        assert_eq!(lines(&fs::read(&output).unwrap()), rows);

        assert!(matches!(to_file(&folder.path().join("no.db"), &output), Err(ExportError::Open(_))));
        assert_eq!(lines(&fs::read(&output).unwrap()), rows, "the earlier export is still there");
        assert!(matches!(to_file(&db, &db), Err(ExportError::OutputIsDatabase(_))));
        assert!(matches!(to_file(&db, &folder.path().join("no/x")), Err(ExportError::Create { .. })));
    }

    /// The names in a folder.
    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_earlier_export_stays_until_the_new_one_is_whole() {
        let rows = mixed();
        let (folder, _reader) = stored(&rows);
        let (db, exports) = (folder.path().join("x.db"), folder.path().join("exports"));
        fs::create_dir(&exports).unwrap();
        let output = exports.join("x.jsonl");
        fs::write(&output, "the earlier one").unwrap();
        let earlier = || assert_eq!(fs::read_to_string(&output).unwrap(), "the earlier one");

        let unknown = args(&format!("--db {} --job cast --output {}", db.display(), output.display()));
        assert!(matches!(run(&unknown), Err(ExportError::Read(ReadError::UnknownJob { .. }))));
        earlier();

        let full_disk = replace(&output, |mut file| {
            file.write_all(b"the begin").unwrap();
            earlier();
            Err(ExportError::Write { output: String::new(), cause: io::ErrorKind::StorageFull.into() })
        });
        assert!(matches!(full_disk, Err(ExportError::Write { .. })));
        earlier();
        assert_eq!(names(&exports), ["x.jsonl"], "nothing else is left");

        run(&args(&format!("--db {} --output {}", db.display(), output.display()))).unwrap();
        assert_eq!(lines(&fs::read(&output).unwrap()), rows);
        assert_eq!(names(&exports), ["x.jsonl"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_and_links_are_written_in_place() {
        let rows = mixed();
        let (folder, _reader) = stored(&rows);
        let to = |output: &Path| {
            let db = folder.path().join("x.db");
            run(&args(&format!("--db {} --output {}", db.display(), output.display())))
        };
        assert!(matches!(to(Path::new("/dev/full")), Err(ExportError::Write { .. })));
        to(Path::new("/dev/null")).unwrap();

        let (link, file) = (folder.path().join("link"), folder.path().join("file"));
        fs::write(&file, "the earlier one").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        to(&link).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(lines(&fs::read(&file).unwrap()), rows);
    }

    #[test]
    fn without_arguments_it_reads_facemill_db_and_writes_json_lines_to_standard_output() {
        let args = args("");
        assert_eq!((args.db.as_path(), args.output.as_path()), (Path::new("facemill.db"), Path::new("-")));
        assert_eq!((args.job, args.status, args.format), (None, None, Format::Jsonl));
        assert!(CommandLine::try_parse_from(["export", "--status", "done"]).is_err());
    }
}
