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

/// librdkafka's own default of `batch.size`, in bytes.
const BATCH_BYTES: u64 = 1_000_000;

/// How often a full queue is tried again.
const QUEUE_FULL: Duration = Duration::from_millis(10);

/// Acknowledged by all replicas that are in sync, in order, once (KIP-98), to the partition that Kafka's own
/// producers choose for the key (murmur2).
const DEFAULTS: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("partitioner", "murmur2_random"),
    ("queue.buffering.max.kbytes", "65536"),
    ("message.max.bytes", "11534336"),
    // After that a record is "possibly persisted": the runner publishes it again.
    ("message.timeout.ms", "120000"),
    ("linger.ms", "5"),
];

/// Refuses a topic whose `max.message.bytes` is below the size of our batches: the broker would refuse the whole of
/// one, and every record in it would count as too large.
///
/// # Errors
/// [`KafkaError::SmallTopic`].
pub fn takes_batches(options: &KafkaOptions, topic: &str, limit: u64) -> Result<(), KafkaError> {
    let batch = options.get("batch.size").and_then(|value| value.parse().ok()).unwrap_or(BATCH_BYTES);
    if limit < batch {
        return Err(KafkaError::SmallTopic { topic: topic.to_owned(), limit, batch });
    }
    Ok(())
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
        match may(client, Operation::Write, name, timeout) {
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
