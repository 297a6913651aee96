//! Topics and positions seen past facemill, without the seconds that Kafka's own tools take to start.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Header, Headers as _, Message, OwnedHeaders},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use serde_json::Value;

use crate::{
    cluster::{Cluster, PARTITIONS},
    program::{rows, text},
};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A record as it lies in a topic.
#[derive(Debug)]
pub struct Entry {
    pub value: Vec<u8>,
    pub headers: BTreeMap<String, String>,
}

impl Cluster {
    /// Publishes records without keys, in every partition the same number.
    pub fn produce<V: AsRef<[u8]>>(&self, topic: &str, values: impl IntoIterator<Item = V>) {
        let producer: ThreadedProducer<DefaultProducerContext> =
            self.client().set("acks", "all").set("message.max.bytes", "5000000").create().unwrap();
        let topic = self.topic(topic);
        for (partition, value) in (0..PARTITIONS).cycle().zip(values) {
            let record = BaseRecord::<(), [u8]>::to(&topic).payload(value.as_ref()).partition(partition);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(TIMEOUT).unwrap();
        assert_eq!(producer.in_flight_count(), 0);
    }

    /// Publishes one record with a header.
    pub fn produce_with(&self, topic: &str, value: &str, (key, header): (&str, &str)) {
        let producer: ThreadedProducer<DefaultProducerContext> = self.client().set("acks", "all").create().unwrap();
        let (topic, header) = (self.topic(topic), Header { key, value: Some(header) });
        let record = BaseRecord::<(), str>::to(&topic).payload(value).headers(OwnedHeaders::new().insert(header));
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(TIMEOUT).unwrap();
        assert_eq!(producer.in_flight_count(), 0);
    }

    /// All that a topic has.
    pub fn entries(&self, topic: &str) -> Vec<Entry> {
        let topic = self.topic(topic);
        let consumer: BaseConsumer = self.client().set("group.id", "unused").create().unwrap();
        let (mut list, mut left) = (TopicPartitionList::new(), 0);
        for partition in 0..PARTITIONS {
            let (low, high) = consumer.fetch_watermarks(&topic, partition, TIMEOUT).unwrap();
            left += high - low;
            list.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut entries = Vec::new();
        while (entries.len() as i64) < left {
            // An error of a broker that a test has killed passes: others lead its partitions.
            let Ok(message) = consumer.poll(TIMEOUT).expect("the topic has more") else { continue };
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            let headers = headers.map(|header| {
                (header.key.to_owned(), String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned())
            });
            entries.push(Entry { value: message.payload().unwrap_or_default().to_vec(), headers: headers.collect() });
        }
        entries
    }

    /// How many events there are of each URL in the topic of results; each event is by the schema.
    pub fn events(&self) -> BTreeMap<String, usize> {
        let mut events = BTreeMap::new();
        for entry in self.entries("results") {
            let event: Value = rows(std::str::from_utf8(&entry.value).unwrap()).remove(0);
            *events.entry(text(&event["url"]).to_owned()).or_default() += 1;
        }
        events
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    /// Whether all replicas of all partitions are in sync.
    pub fn is_whole(&self) -> bool {
        let consumer: BaseConsumer = self.client().create().unwrap();
        let metadata = consumer.fetch_metadata(None, TIMEOUT).unwrap();
        let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        partitions.all(|partition| partition.isr().len() == partition.replicas().len())
    }
}
