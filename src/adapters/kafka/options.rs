use rdkafka::{ClientConfig, config::RDKafkaLogLevel};

/// How to reach the brokers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KafkaOptions {
    /// Properties of librdkafka by name, `bootstrap.servers` among them; later ones win.
    pub properties: Vec<(String, Secret)>,
}

/// A value that may be a secret: never printed.
#[derive(Clone, Default, PartialEq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl KafkaOptions {
    /// The value of a property, for the few that are no secret and that facemill has to know.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.properties.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.0.as_str())
    }
}

/// What every client has in common: `defaults`, and over them what the user asks for.
pub(super) fn client_config(options: &KafkaOptions, defaults: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    // OpenSSL is built in and does not know where the system keeps its certificates.
    config.set("ssl.ca.location", "probe");
    config.set("client.id", "facemill");
    config.set("statistics.interval.ms", "5000");
    // A topic that is missing is an error, whatever the brokers would do about it.
    config.set("allow.auto.create.topics", "false");
    // What matters of it comes as errors as well; this is for those who ask for it in log.level.
    config.set_log_level(RDKafkaLogLevel::Info);
    for (name, value) in defaults {
        config.set(*name, *value);
    }
    for (name, value) in &options.properties {
        config.set(name, &value.0);
    }
    config
}
