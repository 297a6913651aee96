//! An OpenTelemetry Collector that tells what it got, in the words of its debug exporter.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cluster::{free_port, until},
    program::{Place, Running, clean, start},
};

/// A real collector. Dropping it kills it.
pub struct Collector {
    running: Running,
    log: PathBuf,
    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: String,
}

/// A span as it arrived.
#[derive(Debug, Default, Clone)]
pub struct Span {
    /// Attributes of its resource.
    pub resource: BTreeMap<String, String>,
    /// `Trace ID`, `Parent ID`, `ID`, `Name`, `Kind`, `Status code`.
    pub fields: BTreeMap<String, String>,
    pub attributes: BTreeMap<String, String>,
}

impl Span {
    pub fn get(&self, field: &str) -> &str {
        self.fields.get(field).unwrap_or_else(|| panic!("no {field} in {self:?}"))
    }

    pub fn service(&self) -> &str {
        &self.resource["service.name"]
    }
}

impl Collector {
    pub fn start(place: &Place) -> Self {
        const VARIABLE: &str = "FACEMILL_TEST_OTELCOL";
        let program =
            env::var(VARIABLE).unwrap_or_else(|_| panic!("{VARIABLE} says where otelcol is; `make it` sets it"));
        let (port, log) = (free_port(), place.path("otelcol.log"));
        place.write(
            "otelcol.yaml",
            format!(
                "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}\n\
                 exporters: {{debug: {{verbosity: detailed}}}}\n\
                 service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
                 traces: {{receivers: [otlp], exporters: [debug]}}\n    \
                 metrics: {{receivers: [otlp], exporters: [debug]}}\n"
            ),
        );
        let mut command: Command = clean(Path::new(&program));
        let file = File::create(&log).unwrap();
        command.arg("--config").arg(place.path("otelcol.yaml")).stdout(file.try_clone().unwrap()).stderr(file);
        let mut collector = Collector { running: start(command), log, endpoint: format!("http://127.0.0.1:{port}") };
        until("the collector listens", || {
            assert!(collector.running.is_running(), "it ended: {}", collector.text());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        collector
    }

    /// All that it has told.
    pub fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The names of the metrics that have come.
    pub fn metrics(&self) -> Vec<String> {
        self.text().lines().filter_map(|line| line.strip_prefix("     -> Name: ")).map(str::to_owned).collect()
    }

    /// The spans that have come.
    pub fn spans(&self) -> Vec<Span> {
        let (mut spans, mut resource, mut is_of_resource) = (Vec::<Span>::new(), BTreeMap::new(), false);
        for line in self.text().lines() {
            if line.contains("ResourceSpans #") || line.contains("ResourceMetrics #") {
                (resource, is_of_resource) = (BTreeMap::new(), true);
            } else if line.starts_with("ScopeSpans #") || line.starts_with("ScopeMetrics #") {
                is_of_resource = false;
            } else if line.starts_with("Span #") {
                spans.push(Span { resource: resource.clone(), ..Span::default() });
            } else if let Some((key, value)) = line.strip_prefix("     -> ").and_then(|line| line.split_once(": ")) {
                // `Str(facemill-fetch)`
                let value = value.split_once('(').and_then(|(_, value)| value.strip_suffix(')')).unwrap_or(value);
                let attributes = match spans.last_mut() {
                    Some(span) if !is_of_resource => &mut span.attributes,
                    _ => &mut resource,
                };
                attributes.insert(key.to_owned(), value.to_owned());
            } else if let Some((key, value)) = line.strip_prefix("    ").and_then(|line| line.split_once(": "))
                && let Some(span) = spans.last_mut()
            {
                span.fields.insert(key.trim().to_owned(), value.to_owned());
            }
        }
        spans
    }
}
