//! What all commands that speak to Kafka share.

use clap::Args;

use super::CliError;
use crate::{
    adapters::kafka::{KafkaOptions, Secret},
    config::KafkaSettings,
};

#[derive(Debug, Args)]
pub(super) struct KafkaArgs {
    /// Any property of librdkafka, stronger than kafka.config; may be repeated
    #[arg(short = 'X', value_name = "NAME=VALUE")]
    properties: Vec<String>,
}

impl KafkaArgs {
    /// The settings, and what the command line adds. Values that stand in files are read: one that cannot be is
    /// [`CliError::SecretFile`].
    pub(super) fn options(&self, settings: &KafkaSettings) -> Result<KafkaOptions, CliError> {
        let mut properties = vec![("bootstrap.servers".to_owned(), Secret(settings.brokers.clone()))];
        properties.extend(settings.config.iter().map(|(name, value)| (name.to_owned(), Secret(value.to_owned()))));
        for (name, path) in settings.config_files.iter() {
            let unreadable = |source| CliError::SecretFile { name: name.to_owned(), path: path.to_owned(), source };
            let value = std::fs::read_to_string(path).map_err(unreadable)?;
            // Editors end a file with a line break that is no part of a password.
            properties.push((name.to_owned(), Secret(value.trim_end_matches(['\r', '\n']).to_owned())));
        }
        for property in &self.properties {
            let (name, value) = property
                .split_once('=')
                .ok_or_else(|| CliError::Usage(format!("-X takes NAME=VALUE, not '{property}'")))?;
            properties.push((name.trim().to_owned(), Secret(value.to_owned())));
        }
        Ok(KafkaOptions { properties })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    #[test]
    fn the_command_line_is_stronger_than_files_and_files_than_settings() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from-file\n").unwrap();
        let sets = [
            "kafka.config.sasl.password=from-settings".to_owned(),
            "kafka.config.client.id=ours".to_owned(),
            format!("kafka.config_files.sasl.password={}", file.path().display()),
        ];
        let settings = load(None, std::iter::empty(), &sets).unwrap().settings.kafka;
        let args = KafkaArgs { properties: vec!["client.id=theirs".to_owned()] };
        let options = args.options(&settings).unwrap();
        let last = |name: &str| {
            let found = options.properties.iter().rev().find(|(known, _)| known == name);
            found.map(|(_, value)| value.0.clone()).unwrap()
        };
        assert_eq!((last("sasl.password").as_str(), last("client.id").as_str()), ("from-file", "theirs"));
        assert!(!format!("{options:?}").contains("from-"), "no value is printed");
        let wrong = KafkaArgs { properties: vec!["client.id".to_owned()] };
        assert!(wrong.options(&settings).unwrap_err().to_string().contains("NAME=VALUE"));
    }
}
