//! Topics on the brokers: what there is, and making it as declared. Never deletes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use rdkafka::{
    ClientContext,
    admin::{
        AdminClient, AdminOptions, AlterConfig, ConfigEntry, ConfigSource, NewPartitions, NewTopic,
        OwnedResourceSpecifier, ResourceSpecifier, TopicReplication, TopicResult,
    },
    client::DefaultClientContext,
    config::{FromClientConfig, FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError as Native, RDKafkaErrorCode},
    metadata::{Metadata, MetadataTopic},
    producer::{DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};

use super::{
    error::{KafkaError, config_error},
    options::{KafkaOptions, client_config},
};
use crate::topics::{ActualTopic, ActualValue, Cluster, Topic};

/// Why the brokers did not do it.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// librdkafka does not take the configuration.
    #[error(transparent)]
    Properties(#[from] KafkaError),
    /// No broker answers.
    #[error(
        "no broker of '{brokers}' answered within {timeout:?}{why}; check kafka.brokers, and kafka.config where they \
         ask for TLS or a login"
    )]
    Unreachable {
        /// Who was asked.
        brokers: String,
        /// How long.
        timeout: Duration,
        /// What librdkafka last complained of.
        why: String,
    },
    /// A request came to nothing as a whole.
    #[error("the brokers did not answer a request to {act} ({source}); the same again is safe")]
    Request {
        /// What was asked.
        act: &'static str,
        /// What librdkafka says.
        source: Native,
    },
    /// A topic's configuration stays hidden.
    #[error(
        "the brokers show no configuration of topic {0}: this login needs DescribeConfigs on it (kafka-acls.sh \
         --operation DescribeConfigs)"
    )]
    HiddenConfig(String),
    /// A value that is kept secret cannot be written back, and the request that alters one replaces all.
    #[error("topic {topic} has a hidden value of {name}: change its configuration with kafka-configs.sh")]
    HiddenValue {
        /// The topic.
        topic: String,
        /// The configuration.
        name: String,
    },
    /// The brokers refused, by topic.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<Refusal>),
}

/// What the brokers refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    act: &'static str,
    topic: String,
    code: RDKafkaErrorCode,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { act, topic, code } = self;
        let help = match code {
            RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
                "this login may not; kafka-acls.sh grants Create, Alter, AlterConfigs, Describe and DescribeConfigs"
            }
            RDKafkaErrorCode::InvalidReplicationFactor => "the cluster has too few brokers that are up: see --replicas",
            RDKafkaErrorCode::InvalidConfig => "a name or value of its config is none that these brokers take",
            RDKafkaErrorCode::PolicyViolation => "a policy of the brokers forbids it: ask who runs them",
            RDKafkaErrorCode::RequestTimedOut | RDKafkaErrorCode::OperationTimedOut => "the same again is safe",
            _ => "the brokers' log says more",
        };
        write!(f, "cannot {act} topic {topic}: {code}; {help}")
    }
}

/// Keeps the last complaint of librdkafka: its errors say only that something failed.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Option<String>>>);

impl Listener {
    fn last(&self) -> Option<String> {
        self.0.lock().ok().and_then(|last| last.clone())
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(?level, facility, "{text}");
    }

    fn error(&self, error: Native, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
        // That all are down follows from what was said of each.
        let is_summary = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        if !is_summary && let Ok(mut last) = self.0.lock() {
            *last = Some(reason.to_owned());
        }
    }
}

impl ProducerContext for Listener {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// A connection for looking at topics and changing them.
pub struct Admin {
    admin: AdminClient<DefaultClientContext>,
    /// An admin client keeps its errors to itself; a producer that sends nothing tells them.
    probe: Arc<ThreadedProducer<Listener>>,
    listener: Listener,
    brokers: String,
    timeout: Duration,
}

impl Admin {
    /// Makes the clients; nothing is asked of the brokers yet. `timeout` bounds each request.
    ///
    /// # Errors
    /// When librdkafka does not take the configuration.
    pub fn connect(options: &KafkaOptions, timeout: Duration) -> Result<Self, AdminError> {
        // Nobody would read them, and an admin client keeps what nobody reads.
        let config = client_config(options, &[("statistics.interval.ms", "0")]);
        let listener = Listener::default();
        let probe = ThreadedProducer::from_config_and_context(&config, listener.clone());
        Ok(Admin {
            admin: AdminClient::from_config(&config).map_err(|error| config_error(&error))?,
            probe: Arc::new(probe.map_err(|error| config_error(&error))?),
            listener,
            brokers: config.get("bootstrap.servers").unwrap_or_default().to_owned(),
            timeout,
        })
    }

    /// The cluster's topics; those of these names with their configuration.
    ///
    /// # Errors
    /// When no broker answers, or a topic's configuration may not be seen.
    pub async fn cluster(&self, names: &BTreeSet<String>) -> Result<Cluster, AdminError> {
        let mut cluster = self.visible_cluster(names).await?;
        cluster.hidden.pop_first().map_or(Ok(cluster), |name| Err(AdminError::HiddenConfig(name)))
    }

    /// The same for a login that may not see every configuration: those that it may.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn visible_cluster(&self, names: &BTreeSet<String>) -> Result<Cluster, AdminError> {
        let metadata = self.metadata().await?;
        let mut topics: BTreeMap<_, _> =
            metadata.topics().iter().map(|topic| (topic.name().to_owned(), actual(topic))).collect();
        let ours: Vec<_> = topics.keys().filter(|name| names.contains(*name)).cloned().collect();
        let mut hidden = BTreeSet::new();
        for (name, entries) in self.entries(&ours).await? {
            if entries.is_empty() {
                hidden.insert(name);
                continue;
            }
            let config = entries.into_iter().filter_map(|entry| {
                let set_here = is_set_here(&entry);
                Some((entry.name, ActualValue { value: entry.value?, set_here }))
            });
            topics.entry(name).or_default().config = config.collect();
        }
        Ok(Cluster { brokers: metadata.brokers().len(), topics, hidden })
    }

    /// The oldest release of Kafka, major and minor, that the brokers can be; `None` if they do not tell: other makes
    /// of brokers, and those on whose cluster this login has no DescribeConfigs.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn release(&self) -> Result<Option<(u32, u32)>, AdminError> {
        let metadata = self.metadata().await?;
        let Some(broker) = metadata.brokers().first() else { return Ok(None) };
        let request = ResourceSpecifier::Broker(broker.id());
        let results = self.admin.describe_configs([&request], &self.options()).await;
        let results = results.map_err(|source| AdminError::Request { act: "describe a broker", source })?;
        let entries: Vec<_> = results.into_iter().flatten().flat_map(|resource| resource.entries).collect();
        let value =
            |name: &str| entries.iter().find(|entry| entry.name == name).and_then(|entry| entry.value.as_deref());
        Ok(release(value("inter.broker.protocol.version"), value("process.roles")))
    }

    /// Creates topics. One that is there meanwhile is no error: what it looks like is to be seen afterwards.
    ///
    /// # Errors
    /// When the brokers refuse one or do not answer; the others may have been created.
    pub async fn create(&self, topics: &[(&str, &Topic)]) -> Result<(), AdminError> {
        if topics.is_empty() {
            return Ok(());
        }
        let requests = topics.iter().map(|(name, topic)| {
            let request = NewTopic::new(name, topic.partitions, TopicReplication::Fixed(topic.replicas));
            topic.config.iter().fold(request, |request, (key, value)| request.set(key, value))
        });
        let requests: Vec<_> = requests.collect();
        let results = self.admin.create_topics(&requests, &self.options()).await;
        let results = results.map_err(|source| AdminError::Request { act: "create topics", source })?;
        accepted("create", results, RDKafkaErrorCode::TopicAlreadyExists)
    }

    /// Gives topics this many partitions in all. One that has them meanwhile is no error.
    ///
    /// # Errors
    /// When the brokers refuse one or do not answer; the others may have been changed.
    pub async fn add_partitions(&self, topics: &[(&str, i32)]) -> Result<(), AdminError> {
        if topics.is_empty() {
            return Ok(());
        }
        let requests: Vec<_> = topics
            .iter()
            .filter_map(|(name, partitions)| Some(NewPartitions::new(name, usize::try_from(*partitions).ok()?)))
            .collect();
        let results = self.admin.create_partitions(&requests, &self.options()).await;
        let results = results.map_err(|source| AdminError::Request { act: "add partitions", source })?;
        accepted("add partitions to", results, RDKafkaErrorCode::InvalidPartitions)
    }

    /// Sets configurations of one topic and keeps every other that was set for it.
    ///
    /// The request that rdkafka has replaces all that was set for a topic, so all is read just before and written
    /// back. It also tells no refusal of a single topic: whether the values are taken is to be seen afterwards.
    ///
    /// # Errors
    /// When the brokers do not answer, or what is set for the topic cannot be read.
    pub async fn set_config(&self, topic: &str, values: &[(&str, &str)]) -> Result<(), AdminError> {
        let mut merged = BTreeMap::new();
        for (_, entries) in self.entries(&[topic.to_owned()]).await? {
            if entries.is_empty() {
                return Err(AdminError::HiddenConfig(topic.to_owned()));
            }
            for entry in entries.into_iter().filter(|entry| is_set_here(entry) && !entry.is_read_only) {
                let hidden = || AdminError::HiddenValue { topic: topic.to_owned(), name: entry.name.clone() };
                let value = entry.value.clone().ok_or_else(hidden)?;
                merged.insert(entry.name, value);
            }
        }
        merged.extend(values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let request = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let request = merged.iter().fold(request, |request, (name, value)| request.set(name, value));
        let results = self.admin.alter_configs([&request], &self.options()).await;
        results.map_err(|source| AdminError::Request { act: "alter a configuration", source })?;
        Ok(())
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new().request_timeout(Some(self.timeout)).operation_timeout(Some(self.timeout))
    }

    async fn metadata(&self) -> Result<Metadata, AdminError> {
        let (probe, timeout) = (Arc::clone(&self.probe), self.timeout);
        let fetched = tokio::task::spawn_blocking(move || probe.client().fetch_metadata(None, timeout)).await;
        let why = match fetched {
            Ok(Ok(metadata)) => return Ok(metadata),
            Ok(Err(error)) => self.listener.last().unwrap_or_else(|| error.to_string()),
            Err(error) => error.to_string(),
        };
        Err(AdminError::Unreachable { brokers: self.brokers.clone(), timeout, why: format!(" ({why})") })
    }

    /// What the brokers say of each topic's configuration: nothing of one that this login may not see. rdkafka keeps
    /// back why; every topic has some configuration.
    async fn entries(&self, topics: &[String]) -> Result<Vec<(String, Vec<ConfigEntry>)>, AdminError> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let requests: Vec<_> = topics.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let results = self.admin.describe_configs(&requests, &self.options()).await;
        let results = results.map_err(|source| AdminError::Request { act: "describe configurations", source })?;
        let mut found = Vec::new();
        for resource in results {
            let request = |code| AdminError::Request { act: "describe configurations", source: Native::AdminOp(code) };
            let resource = resource.map_err(request)?;
            if let OwnedResourceSpecifier::Topic(name) = resource.specifier {
                found.push((name, resource.entries));
            }
        }
        Ok(found)
    }
}

/// Up to Kafka 3.9, the brokers' configuration names the protocol that they speak to each other, as in "3.9-IV0". Later
/// ones are known by its absence, and from brokers of other makes by the roles of a process.
fn release(protocol: Option<&str>, roles: Option<&str>) -> Option<(u32, u32)> {
    match protocol {
        Some(protocol) => {
            let mut numbers = protocol.split(['.', '-']).map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        }
        None => roles.map(|_| (4, 0)),
    }
}

fn actual(topic: &MetadataTopic) -> ActualTopic {
    let fewest = topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or_default();
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    ActualTopic { partitions: count(topic.partitions().len()), replicas: count(fewest), config: BTreeMap::new() }
}

/// Set for this very topic. Brokers before Kafka 1.1 do not say where a value is from, only whether it is the default.
fn is_set_here(entry: &ConfigEntry) -> bool {
    match entry.source {
        ConfigSource::DynamicTopic => true,
        ConfigSource::Unknown => !entry.is_default,
        _ => false,
    }
}

fn accepted(act: &'static str, results: Vec<TopicResult>, already: RDKafkaErrorCode) -> Result<(), AdminError> {
    let refused = results.into_iter().filter_map(Result::err).filter(|(_, code)| *code != already);
    let refused: Vec<_> = refused.map(|(topic, code)| Refusal { act, topic, code }).collect();
    if refused.is_empty() { Ok(()) } else { Err(AdminError::Refused(refused)) }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::adapters::kafka::Secret;

    fn options(properties: &[(&str, &str)]) -> KafkaOptions {
        let property = |(name, value): &(&str, &str)| ((*name).to_owned(), Secret((*value).to_owned()));
        KafkaOptions { properties: properties.iter().map(property).collect() }
    }

    #[tokio::test]
    async fn topics_are_listed_with_their_partitions_and_replicas() {
        let cluster = MockCluster::new(3).unwrap();
        cluster.create_topic("a.t", 5, 2).unwrap();
        cluster.create_topic("b", 1, 3).unwrap();
        let options = options(&[("bootstrap.servers", &cluster.bootstrap_servers())]);
        let admin = Admin::connect(&options, Duration::from_secs(10)).unwrap();
        let found = admin.cluster(&BTreeSet::new()).await.unwrap();
        let topic = |partitions, replicas| ActualTopic { partitions, replicas, config: BTreeMap::new() };
        assert_eq!(found.brokers, 3);
        assert_eq!(found.topics, BTreeMap::from([("a.t".to_owned(), topic(5, 2)), ("b".to_owned(), topic(1, 3))]));
    }

    #[test]
    fn a_release_is_told_by_the_protocol_or_by_its_absence() {
        assert_eq!(release(Some("3.9-IV0"), Some("broker")), Some((3, 9)));
        assert_eq!(release(Some("2.8"), None), Some((2, 8)));
        assert_eq!(release(None, Some("broker,controller")), Some((4, 0)));
        assert_eq!((release(None, None), release(Some("new"), None)), (None, None));
    }

    #[tokio::test]
    async fn brokers_that_cannot_be_reached_are_named_with_the_reason() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let options = options(&[("bootstrap.servers", &address)]);
        let admin = Admin::connect(&options, Duration::from_millis(1500)).unwrap();
        let error = admin.cluster(&BTreeSet::new()).await.unwrap_err().to_string();
        assert!(error.contains(&address) && error.contains("Connection refused"), "{error}");
    }

    #[test]
    fn a_wrong_property_is_named_and_its_value_is_not() {
        for name in ["sasl.passwort", "security.protocol"] {
            let options = options(&[(name, "hunter2")]);
            let error = Admin::connect(&options, Duration::from_secs(1)).err().unwrap().to_string();
            assert!(error.contains(name) && !error.contains("hunter2"), "{error}");
            assert!(!format!("{options:?}").contains("hunter2"));
        }
    }

    #[test]
    fn what_somebody_else_did_meanwhile_is_no_error() {
        let results = || vec![Ok("a".to_owned()), Err(("b".to_owned(), RDKafkaErrorCode::TopicAlreadyExists))];
        assert!(accepted("create", results(), RDKafkaErrorCode::TopicAlreadyExists).is_ok());
        let mut refused = results();
        refused.push(Err(("c".to_owned(), RDKafkaErrorCode::TopicAuthorizationFailed)));
        let error = accepted("create", refused, RDKafkaErrorCode::TopicAlreadyExists).unwrap_err().to_string();
        assert!(error.starts_with("cannot create topic c") && error.contains("kafka-acls.sh"), "{error}");
    }
}
