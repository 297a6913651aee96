use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// The topics' files, as they were when this program was built: (file name without ending, text).
const FILES: &[(&str, &str)] = &[
    ("urls", include_str!("../../topics/urls.yaml")),
    ("urls.retry.1m", include_str!("../../topics/urls.retry.1m.yaml")),
    ("urls.retry.10m", include_str!("../../topics/urls.retry.10m.yaml")),
    ("urls.retry.1h", include_str!("../../topics/urls.retry.1h.yaml")),
    ("images", include_str!("../../topics/images.yaml")),
    ("frames", include_str!("../../topics/frames.yaml")),
    ("results", include_str!("../../topics/results.yaml")),
    ("dlq", include_str!("../../topics/dlq.yaml")),
];

/// The names of the topics that facemill uses, without their prefix, in the order in which a URL could meet them.
pub const TOPIC_NAMES: [&str; 8] =
    ["urls", "urls.retry.1m", "urls.retry.10m", "urls.retry.1h", "images", "frames", "results", "dlq"];

/// What the names of the topics in which URLs wait begin with; the delay follows.
pub const RETRY_TOPICS: &str = "urls.retry.";

/// Kafka's own limit on the length of a topic's name.
const MAX_NAME_BYTES: usize = 249;

/// The configuration that has to do with the number of replicas.
pub(super) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// A topic as a file declares it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// The name without the prefix that `kafka.topic_prefix` adds.
    pub name: String,
    /// What is in it.
    pub description: String,
    /// Whether every record has a key that somebody relies on: its partitions then cannot change without care.
    pub keyed: bool,
    /// Who writes to it.
    pub producers: Vec<Party>,
    /// Who reads it.
    pub consumers: Vec<Party>,
    /// Partitions.
    pub partitions: i32,
    /// Copies of each partition.
    pub replicas: i32,
    /// Kafka's topic configuration by name.
    pub config: BTreeMap<String, String>,
}

/// Who writes or reads a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// Whoever may.
    Anyone,
    /// The stage fetch.
    Fetch,
    /// The stage preprocess.
    Preprocess,
    /// The stage detect.
    Detect,
}

/// What is wrong with a declared topic.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// The folder or a file in it cannot be read.
    #[error("{path}: cannot read it ({source})", path = path.display())]
    Unreadable {
        /// What was read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder declares nothing.
    #[error("{path}: no *.yaml in this folder; each topic is a file there", path = .0.display())]
    Empty(PathBuf),
    /// The text is no topic.
    #[error("{file}.yaml: {problem}")]
    NotATopic {
        /// The file's name without its ending.
        file: String,
        /// What the parser said, with the line.
        problem: String,
    },
    /// A value that cannot be.
    #[error("{file}.yaml: {key}: {problem}")]
    Invalid {
        /// The file's name without its ending.
        file: String,
        /// Which value.
        key: &'static str,
        /// What would be right.
        problem: String,
    },
}

/// Numbers that replace those of every file: what a small cluster needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scale {
    /// Partitions of every topic.
    pub partitions: Option<i32>,
    /// Replicas of every topic; `min.insync.replicas` follows, one less, but at least one.
    pub replicas: Option<i32>,
}

impl Scale {
    /// The topic with these numbers.
    pub fn apply(self, mut topic: Topic) -> Topic {
        if let Some(partitions) = self.partitions {
            topic.partitions = partitions;
        }
        if let Some(replicas) = self.replicas {
            topic.replicas = replicas;
            topic.config.insert(MIN_INSYNC_REPLICAS.to_owned(), (replicas - 1).max(1).to_string());
        }
        topic
    }
}

/// The topics that this program was built with.
///
/// # Errors
/// For none that the tests let through: they read the same files.
pub fn embedded() -> Result<Vec<Topic>, TopicError> {
    FILES.iter().map(|(file, text)| parse(file, text)).collect()
}

/// The topics that the `*.yaml` of a folder declare, by name.
///
/// # Errors
/// When the folder has none, or one that cannot be read or is wrong.
pub fn read_dir(folder: &Path) -> Result<Vec<Topic>, TopicError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| TopicError::Unreadable { path, source }
    };
    let mut topics = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let file = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            topics.push(parse(&file, &fs::read_to_string(&path).map_err(unreadable(&path))?)?);
        }
    }
    if topics.is_empty() {
        return Err(TopicError::Empty(folder.to_owned()));
    }
    topics.sort_by(|one: &Topic, other| one.name.cmp(&other.name));
    Ok(topics)
}

/// The declared topics, and one for each delay of `retry.later` that no file declares, made like the first declared
/// topic in which URLs wait. Where there is none, none is made.
pub fn with_delays(mut topics: Vec<Topic>, delays: &[String]) -> Vec<Topic> {
    let Some(like) = topics.iter().find(|topic| topic.name.starts_with(RETRY_TOPICS)).cloned() else { return topics };
    for delay in delays {
        let name = format!("{RETRY_TOPICS}{delay}");
        if topics.iter().all(|topic| topic.name != name) {
            let description = format!("URLs to be tried again after a wait of {delay}, otherwise as {}.", like.name);
            topics.push(Topic { name, description, ..like.clone() });
        }
    }
    topics
}

fn parse(file: &str, text: &str) -> Result<Topic, TopicError> {
    let topic: Topic = serde_saphyr::from_str(text)
        .map_err(|error| TopicError::NotATopic { file: file.to_owned(), problem: error.to_string() })?;
    check(file, &topic)?;
    Ok(topic)
}

fn check(file: &str, topic: &Topic) -> Result<(), TopicError> {
    let Topic { name, description, producers, consumers, partitions, replicas, config, .. } = topic;
    let is_distinct = |parties: &[Party]| {
        let distinct: BTreeSet<_> = parties.iter().collect();
        !parties.is_empty() && distinct.len() == parties.len()
    };
    let min_insync = config.get(MIN_INSYNC_REPLICAS).map(|text| text.parse::<i32>());
    let rules = [
        ("name", name == file, format!("must be '{file}', as the file is called")),
        ("name", is_name(name), "must be letters, digits, '.', '_' and '-', at most 200".to_owned()),
        ("description", !description.trim().is_empty(), "must say what is in the topic".to_owned()),
        ("producers", is_distinct(producers), "must name somebody, and nobody twice".to_owned()),
        ("consumers", is_distinct(consumers), "must name somebody, and nobody twice".to_owned()),
        ("partitions", (1..=100_000).contains(partitions), "must be from 1 to 100000".to_owned()),
        ("replicas", (1..=i32::from(i16::MAX)).contains(replicas), "must be from 1 to 32767".to_owned()),
        (
            "config",
            config.iter().all(|(key, value)| is_plain(key) && is_plain(value)),
            "a name or a value is empty or has control characters".to_owned(),
        ),
        (
            "config",
            min_insync.is_none_or(|min| min.is_ok_and(|min| (1..=*replicas).contains(&min))),
            format!("min.insync.replicas must be from 1 to {replicas}, the replicas: else nothing could be written"),
        ),
    ];
    match rules.into_iter().find(|(_, holds, _)| !holds) {
        Some((key, _, problem)) => Err(TopicError::Invalid { file: file.to_owned(), key, problem }),
        None => Ok(()),
    }
}

/// What Kafka takes as a topic's name, with room for a prefix.
fn is_name(text: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.len() <= MAX_NAME_BYTES - 49 && text.bytes().all(is_legal) && !matches!(text, "." | "..")
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "{name: t, description: d, keyed: true, producers: [fetch], consumers: [anyone], \
                         partitions: 3, replicas: 2, config: {retention.ms: 5, min.insync.replicas: 1}}";

    fn small(from: &str, to: &str) -> Result<Topic, TopicError> {
        assert!(SMALL.contains(from), "{from}");
        parse("t", &SMALL.replace(from, to))
    }

    #[test]
    fn the_embedded_topics_are_the_files_of_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("topics");
        let mut embedded = embedded().unwrap();
        assert_eq!(embedded.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), TOPIC_NAMES);
        embedded.sort_by(|one, other| one.name.cmp(&other.name));
        assert_eq!(read_dir(&folder).unwrap(), embedded);
    }

    #[test]
    fn at_target_every_topic_survives_the_loss_of_one_of_three_brokers() {
        for topic in embedded().unwrap() {
            assert_eq!((topic.replicas, topic.config["min.insync.replicas"].as_str()), (3, "2"), "{}", topic.name);
        }
    }

    #[test]
    fn values_of_the_configuration_are_text_to_kafka_whatever_they_are_to_yaml() {
        let topic = small("retention.ms: 5", "a: 5, b: -1, c: true, d: \"7\", e: producer, f: [] ");
        assert!(topic.unwrap_err().to_string().contains("t.yaml"), "a list is no value");
        let topic = small("retention.ms: 5", "a: 5, b: -1, c: true, d: \"7\", e: producer, f: 0.5").unwrap();
        let values: Vec<_> = "abcdef".chars().map(|key| topic.config[&key.to_string()].clone()).collect();
        assert_eq!(values, ["5", "-1", "true", "7", "producer", "0.5"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_key() {
        let cases = [
            ("name: t", "name: other", "must be 't', as the file is called"),
            ("description: d", "description: ' '", "description"),
            ("partitions: 3", "partitions: 0", "partitions"),
            ("partitions: 3", "partitions: many", "t.yaml"),
            ("replicas: 2", "replicas: 0", "replicas"),
            ("producers: [fetch]", "producers: []", "producers"),
            ("consumers: [anyone]", "consumers: [detect, detect]", "consumers"),
            ("consumers: [anyone]", "consumers: [nobody]", "nobody"),
            ("min.insync.replicas: 1", "min.insync.replicas: 3", "min.insync.replicas must be from 1 to 2"),
            ("retention.ms: 5", "retention.ms: ''", "config"),
            ("keyed: true", "keyed: true, colour: red", "colour"),
            ("keyed: true, ", "", "keyed"),
            ("keyed: true", "keyed: true, keyed: false", "t.yaml"),
        ];
        for (from, to, said) in cases {
            let error = small(from, to).unwrap_err().to_string();
            assert!(error.starts_with("t.yaml") && error.contains(said), "{to}: {error}");
        }
    }

    #[test]
    fn a_folder_without_topics_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_dir(folder.path()).unwrap_err();
        assert!(matches!(&error, TopicError::Empty(path) if path == folder.path()), "{error}");
        let missing = folder.path().join("none");
        assert!(matches!(read_dir(&missing), Err(TopicError::Unreadable { path, .. }) if path == missing));
    }

    #[test]
    fn each_configured_delay_has_a_topic_and_a_declared_one_stays_as_it_is() {
        let delays = ["1h", "5m", "5m"].map(str::to_owned);
        let mut topics = with_delays(embedded().unwrap(), &delays);
        let made = topics.pop().unwrap();
        assert_eq!(topics, embedded().unwrap());
        let like = &topics[1];
        assert_eq!((made.name.as_str(), made.description.contains("5m")), ("urls.retry.5m", true));
        let as_made = Topic { name: made.name.clone(), description: made.description.clone(), ..like.clone() };
        assert_eq!(made, as_made);
        let own = [small("keyed: true", "keyed: true").unwrap()];
        assert_eq!(with_delays(own.to_vec(), &delays), own, "a folder that declares none asks for none");
    }

    #[test]
    fn fewer_replicas_take_the_number_that_must_be_in_sync_along() {
        let scaled = |replicas| {
            let scale = Scale { partitions: Some(4), replicas };
            let topic = scale.apply(embedded().unwrap().remove(0));
            (topic.partitions, topic.replicas, topic.config["min.insync.replicas"].clone())
        };
        assert_eq!(scaled(None), (4, 3, "2".to_owned()));
        assert_eq!(scaled(Some(1)), (4, 1, "1".to_owned()));
        assert_eq!(scaled(Some(2)), (4, 2, "1".to_owned()));
        assert_eq!(scaled(Some(5)), (4, 5, "4".to_owned()));
    }
}
