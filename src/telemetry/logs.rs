use std::io::Write;

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use super::log_limit::LogLimit;

/// A log level or filter that does not parse.
#[derive(Debug, thiserror::Error)]
#[error(
    "log.level = \"{filter}\": {error}; write a level such as 'info', or levels by module such as \
     'warn,facemill::runner=debug'"
)]
pub struct LogFilterError {
    filter: String,
    error: tracing_subscriber::filter::ParseError,
}

/// Sends the log to `writer`, as text or as one JSON object a line. Once a process; later calls change nothing.
///
/// # Errors
/// When the filter does not parse.
pub fn init_logs<W>(filter: &str, json: bool, writer: W) -> Result<(), LogFilterError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    init(filter, lines(json, writer))
}

/// The same, with a limit to what each place in the code may write.
///
/// # Errors
/// When the filter does not parse.
pub fn init_limited_logs<W>(filter: &str, json: bool, writer: W) -> Result<LogLimit, LogFilterError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let limit = LogLimit::default();
    init(filter, lines(json, writer).and_then(limit.clone()))?;
    Ok(limit)
}

fn init(filter: &str, lines: impl Layer<Registry> + Send + Sync) -> Result<(), LogFilterError> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| LogFilterError { filter: filter.to_owned(), error })?;
    // An error means that somebody, a test most likely, has set one up already: theirs stays.
    let _ = tracing_subscriber::registry().with(lines).with(parsed).try_init();
    Ok(())
}

fn lines<S, W>(json: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer);
    // One span is enough: those around it say the same of the record.
    if json { lines.json().with_span_list(false).boxed() } else { lines.with_ansi(false).boxed() }
}

/// Hands each line of the log to a function, for a terminal that shows something else beside it.
#[derive(Clone)]
pub struct LineWriter<F>(pub F);

impl<F: Fn(&[u8])> Write for LineWriter<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (self.0)(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a, F: Fn(&[u8]) + Clone + 'a> MakeWriter<'a> for LineWriter<F> {
    type Writer = LineWriter<F>;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;

    #[test]
    fn a_line_within_the_work_on_a_record_names_record_and_trace_once_as_json() {
        let written = Arc::new(Mutex::new(String::new()));
        let writer = LineWriter({
            let written = Arc::clone(&written);
            move |line: &[u8]| written.lock().unwrap().push_str(std::str::from_utf8(line).unwrap())
        });
        let subscriber = tracing_subscriber::registry().with(lines(true, writer));
        with_default(subscriber, || {
            let record = tracing::error_span!("record", image_id = "ab", trace_id = Some("cd"));
            record.in_scope(|| tracing::warn!(attempt = 3, "cannot write the result; waiting"));
            tracing::error_span!("record", image_id = "ef", trace_id = None::<&str>).in_scope(|| tracing::info!("x"));
        });
        let written = written.lock().unwrap();
        let lines: Vec<serde_json::Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["span"], serde_json::json!({ "name": "record", "image_id": "ab", "trace_id": "cd" }));
        assert_eq!(lines[0]["fields"]["attempt"], 3);
        assert!(lines[0].get("spans").is_none());
        assert_eq!(lines[1]["span"], serde_json::json!({ "name": "record", "image_id": "ef" }));
    }
}
