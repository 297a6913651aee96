//! Settings: the embedded defaults, a file, the environment and the command line, checked.
//!
//! `config/default.toml` is both the default and the documentation of every key.

mod properties;
mod rules;
mod settings;

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use config::{Config, File, FileFormat, Value, ValueKind};

pub use properties::Properties;
pub use settings::*;

/// The commented defaults.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

const ENVIRONMENT_PREFIX: &str = "FACEMILL__";

/// Keys below these are named by the user.
const FREE_TABLES: &[&str] = &["fetch.host_overrides.", "kafka.config.", "kafka.config_files."];

/// The values of these are names of files, whatever their names are.
const FILES: &str = "kafka.config_files.";

/// Of these, the ones whose names have dots and values are no tables.
const PROPERTY_TABLES: &[&str] = &["kafka.config.", "kafka.config_files."];

/// A key whose last word is one of these is never printed.
const SECRET_WORDS: &[&str] = &["password", "secret", "token", "pem", "sasl.jaas.config", "sasl.oauthbearer.config"];

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read or is no TOML.
    #[error("cannot read the configuration {origin}: {problem}")]
    Unreadable {
        /// Where it stands.
        origin: String,
        /// What the parser said.
        problem: String,
    },
    /// No such key.
    #[error("unknown key '{key}' in {origin}{hint}; `facemill config defaults` prints every key")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands.
        origin: String,
        /// Perhaps what was meant.
        hint: String,
    },
    /// The value is of another type, or impossible.
    #[error("{key} = {value} in {origin}: {problem}")]
    Invalid {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Where it stands.
        origin: String,
        /// What would be right.
        problem: String,
    },
    /// Wrong in a way that the parser does not tie to one key.
    #[error("the configuration is wrong: {0}")]
    Wrong(String),
    /// `--set` without an equals sign.
    #[error("--set takes KEY=VALUE, not '{0}'")]
    NotAnAssignment(String),
}

/// One source of values, by dotted key.
struct Layer {
    origin: String,
    config: Config,
    values: BTreeMap<String, Value>,
}

impl Layer {
    fn parse(origin: impl Into<String>, toml: &str) -> Result<Self, ConfigError> {
        let origin = origin.into();
        let config = Config::builder().add_source(File::from_str(toml, FileFormat::Toml)).build();
        let config =
            config.map_err(|error| ConfigError::Unreadable { origin: origin.clone(), problem: error.to_string() })?;
        let mut values = BTreeMap::new();
        flatten("", &config.cache, &mut values);
        Ok(Layer { origin, config, values })
    }

    /// One value given as text: TOML where it is, else a string. That of a property is the string as it stands: a
    /// password may look like a number, and is no other one then.
    fn assignment(origin: impl Into<String>, key: &str, text: &str) -> Result<Self, ConfigError> {
        let origin = origin.into();
        let property = PROPERTY_TABLES.iter().find_map(|table| Some((*table, key.strip_prefix(table)?)));
        if let Some((table, name)) = property {
            return Self::parse(origin, &format!("{table}{} = {}", literal_text(name), literal_text(text)));
        }
        let quoted = key.split('.').map(literal_text).collect::<Vec<_>>().join(".");
        let text = text.trim();
        Self::parse(&origin, &format!("{quoted} = {text}"))
            .or_else(|_| Self::parse(&origin, &format!("{quoted} = {}", literal_text(text))))
    }
}

/// The merged configuration: the settings, and where each value comes from.
pub struct Loaded {
    /// The checked settings.
    pub settings: Settings,
    layers: Vec<Layer>,
}

/// Merges the defaults, a file, `FACEMILL__…` variables and `--set` assignments, the later ones stronger.
///
/// # Errors
/// For a file that cannot be read, an unknown key or an impossible value, naming the key and its source.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (OsString, OsString)>,
    assignments: &[String],
) -> Result<Loaded, ConfigError> {
    let defaults = Layer::parse("the defaults", DEFAULTS)?;
    let mut layers = Vec::new();
    if let Some(path) = file {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { origin: origin.clone(), problem: error.to_string() })?;
        layers.push(Layer::parse(origin, &text)?);
    }
    // Other variables are none of our business, and need not be text.
    let ours = environment.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let mut variables: Vec<_> = ours.filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
    variables.sort();
    for (name, value) in variables {
        let origin = format!("the environment variable {name}");
        let value = value
            .into_string()
            .map_err(|_| ConfigError::Unreadable { origin, problem: "it is not UTF-8".to_owned() })?;
        let key = name.trim_start_matches(ENVIRONMENT_PREFIX).to_lowercase().replace("__", ".");
        layers.push(Layer::assignment(format!("the environment variable {name}"), &key, &value)?);
    }
    for assignment in assignments {
        let not_one = || ConfigError::NotAnAssignment(assignment.clone());
        let (key, value) = assignment.split_once('=').ok_or_else(not_one)?;
        layers.push(Layer::assignment(format!("--set {assignment}"), key.trim(), value)?);
    }
    for layer in &layers {
        check_keys(layer, &defaults)?;
    }
    layers.insert(0, defaults);
    let merged = layers.iter().fold(Config::builder(), |builder, layer| builder.add_source(layer.config.clone()));
    let settings = merged.build().and_then(Config::try_deserialize::<Settings>);
    let settings = settings.map_err(|error| type_error(&layers, error))?;
    let loaded = Loaded { settings, layers };
    loaded.check()?;
    Ok(loaded)
}

fn flatten(prefix: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match &value.kind {
        ValueKind::Table(table) => {
            for (key, value) in table {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, into);
            }
            if table.is_empty() {
                into.insert(prefix.to_owned(), value.clone());
            }
        }
        _ => drop(into.insert(prefix.to_owned(), value.clone())),
    }
}

fn check_keys(layer: &Layer, defaults: &Layer) -> Result<(), ConfigError> {
    for key in layer.values.keys() {
        let known = defaults.values.contains_key(key) || FREE_TABLES.iter().any(|table| key.starts_with(table));
        if !known {
            // The same last word under another table, or the closest spelling there is.
            let last = key.rsplit('.').next().unwrap_or(key);
            let near = defaults.values.keys().find(|known| known.rsplit('.').next() == Some(last));
            let hint = near.map(|near| format!(" (did you mean '{near}'?)")).unwrap_or_default();
            return Err(ConfigError::UnknownKey { key: key.clone(), origin: layer.origin.clone(), hint });
        }
    }
    Ok(())
}

fn type_error(layers: &[Layer], error: config::ConfigError) -> ConfigError {
    match error {
        config::ConfigError::At { error, key: Some(key), .. } => invalid(layers, &key, error.to_string()),
        config::ConfigError::Type { expected, key: Some(key), .. } => {
            invalid(layers, &key, format!("expected {expected}"))
        }
        other => ConfigError::Wrong(other.to_string()),
    }
}

fn invalid(layers: &[Layer], key: &str, problem: impl Into<String>) -> ConfigError {
    // Of an item in a list, the list.
    let key = key.split('[').next().unwrap_or(key);
    let found = layers.iter().rev().find_map(|layer| layer.values.get(key).map(|value| (layer, value)));
    let (origin, value) = match found {
        Some((layer, value)) => (layer.origin.clone(), literal(value)),
        None => ("the configuration".to_owned(), "?".to_owned()),
    };
    ConfigError::Invalid { key: key.to_owned(), value, origin, problem: problem.into() }
}

impl Loaded {
    /// Every value as TOML with its source, secrets redacted.
    pub fn show(&self) -> String {
        let mut effective: BTreeMap<&str, (&Value, &str)> = BTreeMap::new();
        for layer in &self.layers {
            // A table that has entries now is no empty one any more.
            effective.retain(|key, _| {
                let filled =
                    layer.values.keys().any(|other| other.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')));
                !filled
            });
            effective.extend(layer.values.iter().map(|(key, value)| (key.as_str(), (value, layer.origin.as_str()))));
        }
        let line = |(key, (value, origin)): (&str, (&Value, &str))| {
            let secret = !key.starts_with(FILES) && SECRET_WORDS.iter().any(|word| key.ends_with(word));
            let key = FREE_TABLES.iter().find_map(|table| named(table, key)).unwrap_or_else(|| key.to_owned());
            let value = if secret { "\"***redacted***\"".to_owned() } else { literal(value) };
            let origin = if secret { origin.split('=').next().unwrap_or(origin) } else { origin };
            format!("{key} = {value}  # {origin}\n")
        };
        effective.into_iter().map(line).collect()
    }
}

/// `TABLE.NAME.KEY` or `TABLE.NAME` with the name in quotes, since it has dots of its own.
fn named(table: &str, key: &str) -> Option<String> {
    let name = key.strip_prefix(table)?;
    if PROPERTY_TABLES.contains(&table) {
        return Some(format!("{table}{}", literal_text(name)));
    }
    let (name, last) = name.rsplit_once('.')?;
    Some(format!("{table}{}.{last}", literal_text(name)))
}

/// A value as TOML.
fn literal(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => literal_text(text),
        ValueKind::Array(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        ValueKind::Table(table) if table.is_empty() => "{}".to_owned(),
        other => other.to_string(),
    }
}

/// A JSON string is a TOML basic string.
fn literal_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn load_with(environment: &[(&str, &str)], assignments: &[&str]) -> Result<Loaded, ConfigError> {
        let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let assignments: Vec<String> = assignments.iter().map(|text| (*text).to_owned()).collect();
        load(None, environment, &assignments)
    }

    fn error(environment: &[(&str, &str)], assignments: &[&str]) -> String {
        load_with(environment, assignments).err().expect("refused").to_string()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn the_defaults_are_valid_and_every_key_is_documented() {
        load_with(&[], &[]).unwrap();
        let lines: Vec<&str> = DEFAULTS.lines().collect();
        for table in lines.split(|line| line.starts_with('[')) {
            let first_key = table.iter().position(|line| line.contains(" = ") && !line.starts_with('#'));
            assert!(first_key.is_none_or(|key| key > 0 && table[key - 1].starts_with('#')), "{table:?}");
        }
    }

    #[test]
    fn file_then_environment_then_command_line_each_overrides_the_one_before() {
        let file = file("[fetch]\nconcurrency = 1\nmax_redirects = 1\nhost_rate = 1");
        let environment =
            [("FACEMILL__FETCH__MAX_REDIRECTS", "2"), ("FACEMILL__FETCH__HOST_RATE", "2"), ("OTHER", "x")];
        let environment = environment.into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let loaded = load(Some(file.path()), environment, &["fetch.host_rate=3".to_owned()]).unwrap();
        let fetch = loaded.settings.fetch.clone();
        assert_eq!((fetch.concurrency, fetch.max_redirects, fetch.host_rate), (1, 2, 3.0));
        let shown = loaded.show();
        assert!(shown.contains("fetch.host_rate = 3  # --set fetch.host_rate=3"), "{shown}");
        assert!(shown.contains("fetch.max_redirects = 2  # the environment variable FACEMILL__FETCH__MAX_REDIRECTS"));
        assert!(shown.contains("fetch.honour_robots_tag = true  # the defaults"));
    }

    #[test]
    fn texts_durations_and_lists_need_no_quotes_on_the_command_line() {
        let loaded = load_with(
            &[("FACEMILL__DETECT__MODEL", "/models/a.onnx")],
            &["fetch.read_timeout=1s", "fetch.allow_networks=[\"127.0.0.0/8\"]", "detect.score_threshold=0.5"],
        );
        let settings = loaded.unwrap().settings;
        assert_eq!(settings.fetch.read_timeout, Duration::from_secs(1));
        assert_eq!(settings.fetch.allow_networks.len(), 1);
        assert_eq!(settings.detect.model, Path::new("/models/a.onnx"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_name_and_source() {
        let message = error(&[("FACEMILL__FETCH__CONCURENCY", "5")], &[]);
        assert!(message.contains("fetch.concurency") && message.contains("FACEMILL__FETCH__CONCURENCY"), "{message}");
        let message = error(&[], &["concurrency=5"]);
        assert!(message.contains("did you mean 'fetch.concurrency'") && message.contains("--set"), "{message}");
        let unknown = file("[fetch]\nspeed = 9");
        let message = load(Some(unknown.path()), std::iter::empty(), &[]).err().unwrap().to_string();
        assert!(message.contains("fetch.speed") && message.contains(unknown.path().to_str().unwrap()), "{message}");
    }

    #[test]
    fn an_impossible_value_is_refused_with_its_key_value_and_source() {
        for (assignment, says) in [
            ("fetch.concurrency=0", "from 1 to"),
            ("fetch.concurrency=9223372036854775807", "from 1 to"),
            ("pipeline.epoch=2999-01-01T00:00:00Z", "has come"),
            ("fetch.concurrency=many", "many"),
            ("fetch.host_rate=-2", "rate"),
            ("fetch.concurrency=-1", "-1"),
            ("fetch.read_timeout=soon", "soon"),
            ("fetch.read_timeout=9000years", "1day"),
            ("fetch.total_timeout=0s", "1ms"),
            ("fetch.allow_networks=[\"10.0.0.0/99\"]", "allow_networks"),
            ("detect.working_size=100", "multiple of 32"),
            ("detect.score_threshold=1.5", "0 to 1"),
            ("fetch.body_budget_bytes=5", "fetch.max_body_bytes"),
            ("preprocess.frame_format=tiff", "tiff"),
            ("pipeline.epoch=yesterday", "RFC 3339"),
            ("cql.consistency=SERIAL", "LOCAL_QUORUM"),
            ("cql.job_buckets=5000", "power of two"),
            ("cql.job_buckets=0", "power of two"),
            ("cql.password_file=/run/secrets/cql", "cql.username"),
            ("monitor.interval=500ms", "at least 1s"),
            ("monitor.interval=2days", "1day"),
            ("monitor.deadline=Friday", "RFC 3339"),
            ("retry.later=[\"1h 30m\"]", "topic's name"),
            ("retry.later=[\"2days\"]", "1day"),
            ("fetch=5", "fetch"),
        ] {
            let message = error(&[], &[assignment]);
            assert!(message.contains(says), "{assignment}: {message}");
            assert!(message.contains("--set") || assignment == "fetch=5", "{assignment}: {message}");
        }
        assert!(error(&[], &["no-equals"]).contains("KEY=VALUE"));
    }

    #[test]
    fn limits_of_single_hosts_have_names_with_dots() {
        let file = file("[fetch.host_overrides.\"cdn.example.org\"]\nconcurrency = 64\nrate = 9");
        let loaded = load(Some(file.path()), std::iter::empty(), &[]).unwrap();
        let shown = loaded.show();
        assert!(shown.contains("fetch.host_overrides.\"cdn.example.org\".rate = 9"), "{shown}");
        let again = self::file(&shown);
        assert_eq!(load(Some(again.path()), std::iter::empty(), &[]).unwrap().settings, loaded.settings);
        let settings = loaded.settings;
        let expected = HostOverride { concurrency: Some(64), rate: Some(9.0) };
        assert_eq!(settings.fetch.host_overrides["cdn.example.org"], expected);
    }

    #[test]
    fn properties_of_librdkafka_have_names_with_dots_wherever_they_are_given() {
        let file = file("[kafka.config]\n\"sasl.mechanism\" = \"PLAIN\"\n\"fetch.min.bytes\" = 1\nacks = \"all\"");
        let environment = [("FACEMILL__KAFKA__CONFIG__SASL__MECHANISM", "SCRAM-SHA-512")];
        let environment = environment.into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let sets = ["kafka.config.fetch.min.bytes=7".to_owned()];
        let loaded = load(Some(file.path()), environment, &sets).unwrap();
        let properties: Vec<_> = loaded.settings.kafka.config.iter().collect();
        assert_eq!(properties, [("acks", "all"), ("fetch.min.bytes", "7"), ("sasl.mechanism", "SCRAM-SHA-512")]);
        let shown = loaded.show();
        assert!(shown.contains("kafka.config.\"sasl.mechanism\" = \"SCRAM-SHA-512\""), "{shown}");
        let again = self::file(&shown);
        assert_eq!(load(Some(again.path()), std::iter::empty(), &[]).unwrap().settings, loaded.settings);
    }

    #[test]
    fn properties_given_as_text_stay_as_they_are() {
        for text in
            ["1e5", "1_000", "0x10", "true", "007", " a b ", "\"quoted\"", "[1]", "x = 1", "1979-05-27", "a\\n", ""]
        {
            let environment = [("FACEMILL__KAFKA__CONFIG__SASL__PASSWORD", text)];
            let set = format!("kafka.config.client.id={text}");
            let file = format!("kafka.config_files.sasl.password={text}");
            let kafka = load_with(&environment, &[&set, &file]).unwrap().settings.kafka;
            assert_eq!(kafka.config.iter().collect::<Vec<_>>(), [("client.id", text), ("sasl.password", text)]);
            assert_eq!(kafka.config_files.get("sasl.password"), Some(text));
        }
        let table = load_with(&[], &["kafka.config={\"client.id\" = \"a\"}"]).unwrap().settings.kafka;
        assert_eq!(table.config.get("client.id"), Some("a"), "the whole table is TOML as ever");
    }

    #[test]
    fn secrets_are_not_shown() {
        let sets = ["kafka.config.sasl.password=hunter2", "kafka.config_files.ssl.key.password=/run/key"];
        let loaded = load_with(&[], &sets).unwrap();
        let shown = loaded.show();
        assert!(shown.contains("kafka.config.\"sasl.password\" = \"***redacted***\""), "{shown}");
        let printed = format!("{:?}", loaded.settings);
        assert!(!shown.contains("hunter2") && !printed.contains("hunter2") && printed.contains("sasl.password"));
        assert!(shown.contains("/run/key"), "a file's name is no secret");
    }
}
