use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display, Formatter},
};

use super::{Topic, declared::MIN_INSYNC_REPLICAS};

/// Configurations whose lower value takes something away, and what: records that are there, or some that would come.
const LIMITS: [(&str, &str); 4] = [
    ("retention.ms", "the brokers would delete older records, also those that nobody has read"),
    ("retention.bytes", "the brokers would delete what is more, also what nobody has read"),
    ("max.message.bytes", "the brokers would refuse records that they take today"),
    (MIN_INSYNC_REPLICAS, "a record would count as written with fewer copies, and be lost with them"),
];

/// What a cluster has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Brokers that are up.
    pub brokers: usize,
    /// Its topics by full name.
    pub topics: BTreeMap<String, ActualTopic>,
    /// Topics whose configuration this login may not see: that of theirs is empty.
    pub hidden: BTreeSet<String>,
}

/// A topic as a cluster has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActualTopic {
    /// Partitions.
    pub partitions: i32,
    /// Copies of each partition; of the one with the fewest, where they differ.
    pub replicas: i32,
    /// Every configuration that has a value for this topic, defaults included.
    pub config: BTreeMap<String, ActualValue>,
}

impl ActualTopic {
    /// A configuration that limits something; `None` where it is negative, which is no limit, or not to be seen.
    pub fn limit(&self, name: &str) -> Option<u64> {
        self.config.get(name)?.value.parse().ok()
    }
}

/// One configuration of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActualValue {
    /// The value that counts.
    pub value: String,
    /// Whether it was set for this topic, and is no default of the broker.
    pub set_here: bool,
}

/// What facemill would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Create the topic.
    Create,
    /// Add partitions.
    AddPartitions {
        /// As many as there are.
        from: i32,
    },
    /// Set a configuration.
    SetConfig {
        /// Its name.
        name: String,
        /// What it is, where the brokers know it.
        from: Option<String>,
        /// What it shall be.
        to: String,
    },
}

/// What facemill would not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Kafka cannot take partitions away.
    FewerPartitions {
        /// As many as there are.
        actual: i32,
    },
    /// More partitions for a topic whose keys decide the partition.
    KeysWouldMove {
        /// As many as there are.
        actual: i32,
    },
    /// Copies are moved by Kafka's own tool.
    OtherReplicas {
        /// As many as there are.
        actual: i32,
    },
    /// A limit that would fall below what an operator chose, or what the brokers have by default.
    LowerConfig {
        /// Its name.
        name: String,
        /// What it is.
        from: String,
        /// What is declared.
        to: String,
        /// What that would do.
        harm: &'static str,
    },
    /// A topic cannot have more replicas than there are brokers.
    TooFewBrokers {
        /// As many as there are.
        brokers: usize,
    },
}

impl Obstacle {
    /// Whether the brokers have more than is declared, which does no harm.
    pub fn is_more(&self) -> bool {
        matches!(self, Obstacle::FewerPartitions { .. } | Obstacle::LowerConfig { .. })
    }
}

/// How one topic differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The full name.
    pub name: String,
    /// As it is declared.
    pub declared: Topic,
    /// What can be done.
    pub changes: Vec<Change>,
    /// What cannot.
    pub obstacles: Vec<Obstacle>,
}

/// How a cluster differs from what is declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The topics that differ.
    pub differences: Vec<Difference>,
    /// Topics with our prefix that nobody declared: left alone.
    pub undeclared_topics: Vec<String>,
    /// (topic, configuration, value) that was set by somebody else: left alone.
    pub undeclared_config: Vec<(String, String, String)>,
}

/// What facemill does only where somebody says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowed {
    /// More partitions for a topic whose keys decide the partition.
    pub repartition: bool,
    /// Lower limits.
    pub lower: bool,
}

/// Compares what is declared with what is there.
pub fn plan(declared: &[Topic], prefix: &str, cluster: &Cluster, allowed: Allowed) -> Plan {
    let mut plan = Plan::default();
    for topic in declared {
        let name = format!("{prefix}{}", topic.name);
        let actual = cluster.topics.get(&name);
        let (changes, obstacles) = match actual {
            None => create(topic, cluster.brokers),
            Some(actual) => change(topic, actual, allowed),
        };
        if let Some(actual) = actual {
            let by_hand =
                actual.config.iter().filter(|(key, value)| value.set_here && !topic.config.contains_key(*key));
            plan.undeclared_config.extend(by_hand.map(|(key, value)| (name.clone(), key.clone(), value.value.clone())));
        }
        if !changes.is_empty() || !obstacles.is_empty() {
            plan.differences.push(Difference { name, declared: topic.clone(), changes, obstacles });
        }
    }
    let is_declared =
        |name: &str| name.strip_prefix(prefix).is_some_and(|rest| declared.iter().any(|t| t.name == rest));
    let ours = cluster.topics.keys().filter(|name| !prefix.is_empty() && name.starts_with(prefix));
    plan.undeclared_topics = ours.filter(|name| !is_declared(name)).cloned().collect();
    plan
}

fn create(topic: &Topic, brokers: usize) -> (Vec<Change>, Vec<Obstacle>) {
    if usize::try_from(topic.replicas).is_ok_and(|replicas| replicas <= brokers) {
        (vec![Change::Create], Vec::new())
    } else {
        (Vec::new(), vec![Obstacle::TooFewBrokers { brokers }])
    }
}

fn change(topic: &Topic, actual: &ActualTopic, allowed: Allowed) -> (Vec<Change>, Vec<Obstacle>) {
    let (mut changes, mut obstacles) = (Vec::new(), Vec::new());
    if topic.partitions < actual.partitions {
        obstacles.push(Obstacle::FewerPartitions { actual: actual.partitions });
    } else if topic.partitions > actual.partitions {
        if topic.keyed && !allowed.repartition {
            obstacles.push(Obstacle::KeysWouldMove { actual: actual.partitions });
        } else {
            changes.push(Change::AddPartitions { from: actual.partitions });
        }
    }
    if topic.replicas != actual.replicas {
        obstacles.push(Obstacle::OtherReplicas { actual: actual.replicas });
    }
    // It goes with the replicas that are declared: with those that are there, it could only be wrong.
    let is_open = |name: &str| name != MIN_INSYNC_REPLICAS || topic.replicas == actual.replicas;
    for (name, to) in topic.config.iter().filter(|(name, _)| is_open(name)) {
        let (name, to) = (name.clone(), to.clone());
        let from = actual.config.get(&name).map(|actual| actual.value.clone());
        match from {
            Some(from) if is_same(&from, &to) => {}
            Some(from)
                if !allowed.lower
                    && let Some(harm) = harm(&name, &from, &to) =>
            {
                obstacles.push(Obstacle::LowerConfig { name, from, to, harm });
            }
            from => changes.push(Change::SetConfig { name, from, to }),
        }
    }
    (changes, obstacles)
}

/// What is lost by going from one value to a lower one of a limit.
fn harm(name: &str, from: &str, to: &str) -> Option<&'static str> {
    // Negative: no limit.
    let number = |text: &str| text.parse::<i64>().ok().map(|value| if value < 0 { i64::MAX } else { value });
    let (_, harm) = LIMITS.iter().find(|(limit, _)| *limit == name)?;
    (number(to)? < number(from)?).then_some(harm)
}

/// Whether two values mean the same to Kafka: lists may have spaces, and their order says nothing.
fn is_same(one: &str, other: &str) -> bool {
    let parts = |text: &str| {
        let mut parts: Vec<_> = text.split(',').map(|part| part.trim().to_ascii_lowercase()).collect();
        parts.sort();
        parts
    };
    parts(one) == parts(other)
}

impl Plan {
    /// Whether the cluster is as declared.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }

    /// Whether there is something to do that facemill does.
    pub fn has_changes(&self) -> bool {
        self.differences.iter().any(|difference| !difference.changes.is_empty())
    }

    /// Whether there is something that facemill does not do.
    pub fn has_obstacles(&self) -> bool {
        self.differences.iter().any(|difference| !difference.obstacles.is_empty())
    }

    /// Whether there is something to do that facemill does not do and that is missing.
    pub fn lacks_something(&self) -> bool {
        self.differences.iter().flat_map(|difference| &difference.obstacles).any(|obstacle| !obstacle.is_more())
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            write!(f, "{difference}")?;
        }
        for (topic, name, value) in &self.undeclared_config {
            writeln!(f, "{topic}: has {name} = {value}, which is not declared: left alone")?;
        }
        for topic in &self.undeclared_topics {
            writeln!(f, "{topic}: on the cluster, but not declared: left alone")?;
        }
        Ok(())
    }
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Difference { name, declared, changes, obstacles } = self;
        let Topic { partitions, replicas, config, .. } = declared;
        for change in changes {
            match change {
                Change::Create => {
                    writeln!(f, "{name}: create with {partitions} partitions, {replicas} replicas")?;
                    config.iter().try_for_each(|(key, value)| writeln!(f, "    {key} = {value}"))?;
                }
                Change::AddPartitions { from } => writeln!(f, "{name}: add partitions: {from} -> {partitions}")?,
                Change::SetConfig { name: key, from, to } => {
                    writeln!(f, "{name}: set {key}: {} -> {to}", from.as_deref().unwrap_or("unset"))?;
                }
            }
        }
        for obstacle in obstacles {
            write!(f, "{name}: cannot ")?;
            match obstacle {
                Obstacle::FewerPartitions { actual } => writeln!(
                    f,
                    "go from {actual} to {partitions} partitions: Kafka takes none away. Declare {actual}, or move to \
                     a new topic"
                )?,
                Obstacle::KeysWouldMove { actual } => writeln!(
                    f,
                    "go from {actual} to {partitions} partitions just so: its records have keys, which would move to \
                     other partitions. Let its consumers finish first, then say --allow-repartition"
                )?,
                Obstacle::OtherReplicas { actual } => writeln!(
                    f,
                    "go from {actual} to {replicas} replicas: kafka-reassign-partitions.sh does that, and --replicas \
                     {actual} takes it as it is"
                )?,
                Obstacle::LowerConfig { name: key, from, to, harm } => writeln!(
                    f,
                    "lower {key} from {from} to {to} just so: {harm}. Declare {from}, or say --allow-lower"
                )?,
                Obstacle::TooFewBrokers { brokers } => writeln!(
                    f,
                    "have {replicas} replicas on a cluster of {brokers}: start more brokers, or say --replicas \
                     {brokers}"
                )?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topics::Party;

    const ALL: Allowed = Allowed { repartition: true, lower: true };

    fn topic(name: &str, keyed: bool, partitions: i32, config: &[(&str, &str)]) -> Topic {
        Topic {
            name: name.to_owned(),
            description: "d".to_owned(),
            keyed,
            producers: vec![Party::Fetch],
            consumers: vec![Party::Anyone],
            partitions,
            replicas: 1,
            config: config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    /// The topic as a cluster that has it just so.
    fn actual(topic: &Topic) -> ActualTopic {
        let value = |value: &String| ActualValue { value: value.clone(), set_here: true };
        let config = topic.config.iter().map(|(key, text)| (key.clone(), value(text))).collect();
        ActualTopic { partitions: topic.partitions, replicas: topic.replicas, config }
    }

    fn cluster(topics: &[&Topic]) -> Cluster {
        let topics = topics.iter().map(|topic| (format!("p.{}", topic.name), actual(topic))).collect();
        Cluster { brokers: 1, topics, ..Cluster::default() }
    }

    #[test]
    fn a_topic_that_is_not_there_is_created() {
        let topic = topic("t", true, 3, &[("a", "1")]);
        let plan = plan(&[topic], "p.", &Cluster { brokers: 1, ..Cluster::default() }, Allowed::default());
        assert_eq!(plan.differences[0].changes, [Change::Create]);
        assert_eq!(plan.to_string(), "p.t: create with 3 partitions, 1 replicas\n    a = 1\n");
    }

    #[test]
    fn more_replicas_than_brokers_are_told_before_they_are_tried() {
        let declared = [Topic { replicas: 3, ..topic("t", true, 3, &[]) }];
        let plan = plan(&declared, "p.", &Cluster { brokers: 2, ..Cluster::default() }, Allowed::default());
        assert!(!plan.has_changes() && plan.has_obstacles());
        assert!(plan.to_string().contains("--replicas 2"), "{plan}");
    }

    #[test]
    fn only_values_that_mean_something_else_are_changed() {
        let declared = [topic("t", false, 3, &[("cleanup.policy", "compact,delete"), ("retention.ms", "5")])];
        let mut cluster = cluster(&[&topic("t", false, 3, &[("cleanup.policy", "delete, compact")])]);
        let actual = cluster.topics.get_mut("p.t").unwrap();
        actual.config.insert("retention.ms".into(), ActualValue { value: "5".into(), set_here: false });
        assert!(plan(&declared, "p.", &cluster, Allowed::default()).is_empty());
        cluster.topics.get_mut("p.t").unwrap().config.get_mut("retention.ms").unwrap().value = "4".into();
        assert_eq!(plan(&declared, "p.", &cluster, Allowed::default()).to_string(), "p.t: set retention.ms: 4 -> 5\n");
    }

    #[test]
    fn partitions_of_a_keyed_topic_are_added_only_when_somebody_says_so() {
        let there = cluster(&[&topic("t", true, 2, &[])]);
        let declared = [topic("t", true, 3, &[])];
        let refused = plan(&declared, "p.", &there, Allowed::default());
        assert!(!refused.has_changes() && refused.to_string().contains("--allow-repartition"), "{refused}");
        let allowed = plan(&declared, "p.", &there, ALL);
        assert_eq!(allowed.differences[0].changes, [Change::AddPartitions { from: 2 }]);
        let without_keys = plan(&[topic("t", false, 3, &[])], "p.", &there, Allowed::default());
        assert_eq!(without_keys.differences[0].changes, [Change::AddPartitions { from: 2 }]);
    }

    #[test]
    fn partitions_are_never_taken_away_and_replicas_never_moved() {
        let there = cluster(&[&Topic { replicas: 3, ..topic("t", false, 9, &[]) }]);
        let plan = plan(&[topic("t", false, 3, &[])], "p.", &there, ALL);
        let obstacles = [Obstacle::FewerPartitions { actual: 9 }, Obstacle::OtherReplicas { actual: 3 }];
        assert_eq!(plan.differences[0].obstacles, obstacles);
        assert!(!plan.has_changes());
    }

    #[test]
    fn a_limit_falls_only_when_somebody_says_so() {
        for (name, from, to, is_lower) in [
            ("retention.ms", "6", "5", true),
            ("retention.ms", "5", "6", false),
            ("retention.ms", "5", "-1", false),
            ("retention.bytes", "-1", "5", true),
            ("max.message.bytes", "20", "9", true),
            (MIN_INSYNC_REPLICAS, "2", "1", true),
            ("segment.bytes", "6", "5", false),
        ] {
            let there = cluster(&[&topic("t", false, 1, &[(name, from)])]);
            let declared = [topic("t", false, 1, &[(name, to)])];
            let careful = plan(&declared, "p.", &there, Allowed::default());
            assert_eq!((careful.has_obstacles(), careful.has_changes()), (is_lower, !is_lower), "{name}: {careful}");
            assert_eq!(careful.to_string().contains("--allow-lower"), is_lower, "{careful}");
            let all = plan(&declared, "p.", &there, ALL);
            assert_eq!(all.to_string(), format!("p.t: set {name}: {from} -> {to}\n"));
        }
    }

    #[test]
    fn replicas_that_are_not_changed_keep_the_number_that_must_be_in_sync() {
        let config = |min| [(MIN_INSYNC_REPLICAS, min), ("retention.ms", "5")];
        let there = cluster(&[&Topic { replicas: 3, ..topic("t", false, 1, &config("2")) }]);
        let plan = plan(&[topic("t", false, 1, &config("1"))], "p.", &there, ALL);
        assert_eq!(plan.differences[0].obstacles, [Obstacle::OtherReplicas { actual: 3 }]);
        assert!(!plan.has_changes(), "{plan}");
    }

    #[test]
    fn what_others_made_is_mentioned_and_left_alone() {
        let mut there = cluster(&[&topic("t", false, 1, &[("by.hand", "1")]), &topic("other", false, 1, &[])]);
        there.topics.insert("elsewhere".into(), ActualTopic::default());
        let plan = plan(&[topic("t", false, 1, &[])], "p.", &there, ALL);
        assert!(plan.is_empty());
        assert_eq!(plan.undeclared_topics, ["p.other"]);
        assert_eq!(plan.undeclared_config, [("p.t".to_owned(), "by.hand".to_owned(), "1".to_owned())]);
        assert!(super::plan(&[], "", &there, ALL).undeclared_topics.is_empty(), "without a prefix nothing is ours");
    }

    prop_compose! {
        fn any_topic()(name in "[ab]", keyed: bool, partitions in 1..5i32, replicas in 1..4i32,
            config in proptest::collection::btree_map("a|b|retention.ms|min.insync.replicas", "[12]|-1", 0..4)) -> Topic {
            Topic { keyed, replicas, config, ..topic(&name, true, partitions, &[]) }
        }
    }

    proptest! {
        #[test]
        fn doing_what_the_plan_says_leaves_only_obstacles(
            declared in any_topic(), there in any_topic(), repartition: bool, lower: bool
        ) {
            let allowed = Allowed { repartition, lower };
            let mut cluster = cluster(&[&there]);
            cluster.brokers = 2;
            let before = cluster.clone();
            let first = plan(std::slice::from_ref(&declared), "p.", &cluster, allowed);
            for Difference { name, declared, changes, .. } in &first.differences {
                for change in changes {
                    let topic = cluster.topics.entry(name.clone()).or_default();
                    match change {
                        Change::Create => *topic = actual(declared),
                        Change::AddPartitions { from } => {
                            prop_assert!(topic.partitions == *from && declared.partitions > *from);
                            topic.partitions = declared.partitions;
                        }
                        Change::SetConfig { name, to, .. } => {
                            let value = ActualValue { value: to.clone(), set_here: true };
                            topic.config.insert(name.clone(), value);
                        }
                    }
                }
            }
            let again = plan(&[declared], "p.", &cluster, allowed);
            prop_assert!(!again.has_changes());
            prop_assert_eq!(again.has_obstacles(), first.has_obstacles());
            for (name, topic) in &before.topics {
                prop_assert!(cluster.topics[name].partitions >= topic.partitions);
                prop_assert!(topic.config.keys().all(|key| cluster.topics[name].config.contains_key(key)));
            }
        }
    }
}
