//! What the subcommands that speak to Kafka have in common on the command line.

use std::{fs, io};

use clap::Args;

use super::ConfigArgs;
use crate::{
    adapters::kafka::{KafkaOptions, Secret},
    config::{KafkaSettings, Settings},
};

/// Settings, and properties of librdkafka on top of them.
#[derive(Debug, Args)]
pub(super) struct KafkaArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A property of librdkafka, stronger than kafka.config; may be repeated
    #[arg(short = 'X', value_name = "NAME=VALUE")]
    properties: Vec<Property>,
}

/// `NAME=VALUE`; the value may be a secret.
#[derive(Debug, Clone)]
struct Property(String, Secret);

impl std::str::FromStr for Property {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                Ok(Property(name.trim().to_owned(), Secret(value.to_owned())))
            }
            _ => Err("it has the form NAME=VALUE"),
        }
    }
}

/// Why a property has no value.
#[derive(Debug, thiserror::Error)]
#[error("kafka.config_files: cannot read {path} for {name} ({source})")]
pub(super) struct PropertyError {
    name: String,
    path: String,
    source: io::Error,
}

impl KafkaArgs {
    pub(super) fn settings(&self) -> Result<Settings, crate::config::ConfigError> {
        Ok(self.config.load()?.settings)
    }

    /// The brokers and all properties: the settings', those in files, and the command line's, the later ones stronger.
    pub(super) fn options(&self, settings: &KafkaSettings) -> Result<KafkaOptions, PropertyError> {
        let mut properties = vec![("bootstrap.servers".to_owned(), Secret(settings.brokers.clone()))];
        properties.extend(settings.config.iter().map(|(name, value)| (name.to_owned(), Secret(value.to_owned()))));
        for (name, path) in settings.config_files.iter() {
            let error = |source| PropertyError { name: name.to_owned(), path: path.to_owned(), source };
            let value = fs::read_to_string(path).map_err(error)?;
            // An editor ends the last line; no secret ends so.
            properties.push((name.to_owned(), Secret(value.trim_end_matches(['\r', '\n']).to_owned())));
        }
        properties.extend(self.properties.iter().map(|Property(name, value)| (name.clone(), value.clone())));
        Ok(KafkaOptions { properties })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn options(sets: Vec<String>, properties: &[&str]) -> Result<KafkaOptions, PropertyError> {
        let args = KafkaArgs {
            config: ConfigArgs { config: None, set: sets },
            properties: properties.iter().map(|text| text.parse().unwrap()).collect(),
        };
        args.options(&args.settings().unwrap().kafka)
    }

    #[test]
    fn the_command_line_is_stronger_than_files_and_these_than_the_settings() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b" s3=cret \n").unwrap();
        let sets = vec![
            "kafka.brokers=b:1".to_owned(),
            "kafka.config.security.protocol=SASL_SSL".to_owned(),
            format!("kafka.config_files.sasl.password={}", file.path().display()),
        ];
        let options = options(sets, &["security.protocol=SASL_PLAINTEXT", "a = b=c"]).unwrap();
        let read: Vec<_> =
            options.properties.iter().map(|(name, Secret(value))| (name.as_str(), value.as_str())).collect();
        let expected = [
            ("bootstrap.servers", "b:1"),
            ("security.protocol", "SASL_SSL"),
            ("sasl.password", " s3=cret "),
            ("security.protocol", "SASL_PLAINTEXT"),
            ("a", " b=c"),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_missing_file_of_a_secret_is_named() {
        let error = options(vec!["kafka.config_files.sasl.password=/no/such".to_owned()], &[]).unwrap_err();
        assert!(error.to_string().contains("/no/such for sasl.password"), "{error}");
        assert!("no equals sign".parse::<Property>().is_err() && "=v".parse::<Property>().is_err());
    }
}
