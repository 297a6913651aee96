use std::fmt;

use rdkafka::ClientConfig;

/// How to reach the brokers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KafkaOptions {
    /// Properties of librdkafka by name, `bootstrap.servers` among them; later ones win.
    pub properties: Vec<(String, Secret)>,
}

/// A value that may be a secret: never printed.
#[derive(Clone, Default, PartialEq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A client's configuration: what every client of facemill has, then what the user said.
pub(super) fn client_config(options: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    // The OpenSSL that is built in does not know where this system keeps its certificates.
    config.set("ssl.ca.location", "probe");
    config.set("client.id", "facemill");
    for (name, Secret(value)) in &options.properties {
        config.set(name, value);
    }
    config
}
