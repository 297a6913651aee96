use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rdkafka::{
    producer::{FutureProducer, FutureRecord, Producer},
    types::RDKafkaErrorCode,
};

use super::{
    consumer::check_topic,
    context::Watch,
    error::{KafkaError, config_error, port_error},
    options::{KafkaOptions, client_config},
    record::native_headers,
    rights::{Operation, may},
};
use crate::{
    domain::Record,
    runner::ports::{PortError, Publish},
    telemetry::{Health, KafkaMetrics},
};

/// How often a full queue is tried again.
const QUEUE_FULL: Duration = Duration::from_millis(10);

/// Acknowledged by all replicas that are in sync, in order, once (KIP-98), to the partition that Kafka's own
/// producers choose for the key (murmur2).
const DEFAULTS: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("partitioner", "murmur2_random"),
    ("queue.buffering.max.kbytes", "65536"),
    // What the largest topic takes.
    ("message.max.bytes", "11534336"),
    ("batch.size", "1000000"),
    // After that a record is "possibly persisted": the runner publishes it again.
    ("message.timeout.ms", "120000"),
    ("linger.ms", "5"),
];

/// Refuses a topic whose `max.message.bytes`, the limit, does not go with our sizes. Below that of our batches the
/// broker would refuse the whole of one, and every record in it would count as too large. Above that of our records
/// the client itself would refuse what the topic takes, and that would count as too large as well.
///
/// # Errors
/// [`KafkaError::SmallTopic`], [`KafkaError::SmallClient`].
pub fn check_limit(options: &KafkaOptions, topic: &str, limit: u64) -> Result<(), KafkaError> {
    let default = |name| DEFAULTS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let bytes = |name| options.get(name).or(default(name)).and_then(|value| value.trim().parse::<u64>().ok());
    let topic = topic.to_owned();
    match (bytes("batch.size"), bytes("message.max.bytes")) {
        (Some(batch), _) if limit < batch => Err(KafkaError::SmallTopic { topic, limit, batch }),
        (_, Some(record)) if limit > record => Err(KafkaError::SmallClient { topic, limit, record }),
        _ => Ok(()),
    }
}

/// The one producer of a process.
#[derive(Clone)]
pub struct KafkaProducer {
    producer: FutureProducer<Watch>,
    options: KafkaOptions,
}

impl KafkaProducer {
    /// Makes a producer. No broker is asked for yet.
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub fn new(options: &KafkaOptions, health: Arc<Health>, metrics: Arc<KafkaMetrics>) -> Result<Self, KafkaError> {
        let producer = client_config(options, DEFAULTS).create_with_context(Watch { health, metrics });
        let producer = producer.map_err(|error| config_error(&error))?;
        Ok(KafkaProducer { producer, options: options.clone() })
    }

    /// A topic to publish to.
    ///
    /// # Errors
    /// When no broker answers in time, or the topic is not there or this user may not write to it.
    pub fn topic(&self, name: &str, timeout: Duration) -> Result<KafkaTopic, KafkaError> {
        let client = self.producer.client();
        check_topic(client, &self.options, name, timeout)?;
        match may(client, Operation::Write, name) {
            Ok(Some(false)) => return Err(KafkaError::ReadOnly(name.to_owned())),
            Ok(_) => {}
            // Of no weight beside a producer that works: its first record tells.
            Err(cause) => tracing::debug!(topic = name, cause, "the rights to a topic are not known"),
        }
        Ok(KafkaTopic { producer: self.producer.clone(), name: name.to_owned() })
    }
}

/// A topic to publish to.
pub struct KafkaTopic {
    producer: FutureProducer<Watch>,
    name: String,
}

#[async_trait]
impl Publish for KafkaTopic {
    fn name(&self) -> &str {
        &self.name
    }

    async fn publish(&self, record: &Record) -> Result<(), PortError> {
        let key = record.key.map(|key| key.to_string());
        let failed = |error| {
            let bytes = record.value.len();
            port_error(&format!("publishing a record of {bytes} bytes to the topic '{}'", self.name), &error)
        };
        let delivery = loop {
            let message = FutureRecord::<str, [u8]>::to(&self.name).headers(native_headers(&record.headers));
            let message = message.payload(record.value.as_ref());
            let message = match &key {
                Some(key) => message.key(key.as_str()),
                None => message,
            };
            match self.producer.send_result(message) {
                Ok(delivery) => break delivery,
                Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    tokio::time::sleep(QUEUE_FULL).await;
                }
                Err((error, _)) => return Err(failed(error)),
            }
        };
        match delivery.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(failed(error)),
            Err(_) => Err(PortError::Fatal("the Kafka producer has ended".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{adapters::kafka::Secret, topics::embedded};

    fn options(properties: &[(&str, &str)]) -> KafkaOptions {
        let property = |(name, value): &(&str, &str)| ((*name).to_owned(), Secret((*value).to_owned()));
        KafkaOptions { properties: properties.iter().map(property).collect() }
    }

    #[test]
    fn a_topic_takes_whole_batches_and_the_client_sends_what_it_takes() {
        let told = |properties: &[(&str, &str)], limit| {
            check_limit(&options(properties), "t", limit).map_err(|error| error.to_string())
        };
        assert_eq!(told(&[], 1_000_000), Ok(()));
        assert!(told(&[], 999_999).unwrap_err().contains("raise its max.message.bytes"));
        assert_eq!(told(&[("batch.size", "9")], 9), Ok(()));
        assert_eq!(told(&[], 11_534_336), Ok(()));
        let error = told(&[], 11_534_337).unwrap_err();
        assert!(error.contains("message.max.bytes") && error.contains("11534337"), "{error}");
        let error = told(&[("message.max.bytes", "65536")], 10_485_760).unwrap_err();
        assert!(error.contains("65536") && error.contains("kafka.config"), "{error}");
        assert_eq!(told(&[("message.max.bytes", "20000000")], 20_000_000), Ok(()));
    }

    #[test]
    fn the_defaults_go_with_the_declared_topics() {
        for topic in embedded().unwrap() {
            let limit = topic.config["max.message.bytes"].parse().unwrap();
            check_limit(&KafkaOptions::default(), &topic.name, limit).unwrap();
        }
    }
}
