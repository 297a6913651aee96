//! Topics as code: what `topics/*.yaml` declare, how a cluster differs from it, and the same for other tools.
//!
//! Pure: nothing here talks to a broker. `adapters::kafka::admin` does, and `facemill topics` brings the two together.

mod declared;
mod diff;
mod render;

pub use declared::{Party, RETRY_TOPICS, Scale, TOPIC_NAMES, Topic, TopicError, embedded, read_dir, with_delays};
pub use diff::{ActualTopic, ActualValue, Allowed, Change, Cluster, Difference, Obstacle, Plan, plan};
pub use render::{StrimziApi, kafka_topics, strimzi};
