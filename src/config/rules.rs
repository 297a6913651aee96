//! What no type of a setting can say.

use std::{
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

use super::{ConfigError, Loaded, Settings, invalid};

/// What a time-out may be.
const DURATIONS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);

/// Things at once that one process can have.
const COUNT: RangeInclusive<usize> = 1..=65_536;
const COUNT_RULE: &str = "must be from 1 to 65536";

/// What both a read and a write may have.
const CONSISTENCY_LEVELS: &[&str] = &["LOCAL_QUORUM", "QUORUM", "LOCAL_ONE", "ONE", "TWO", "THREE", "ALL"];

const RATE_RULE: &str = "a rate is 0 for none, or from one a day to a million a second";

fn is_rate(rate: f64) -> bool {
    rate == 0.0 || (1.0 / 86_400.0..=1e6).contains(&rate)
}

impl Loaded {
    /// What no type can say.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Settings { fetch, preprocess, detect, retry, pipeline, runner, kafka, cql, http, monitor, local, .. } =
            &self.settings;
        let rules: &[(&str, bool, &str)] = &[
            ("fetch.concurrency", COUNT.contains(&fetch.concurrency), COUNT_RULE),
            ("fetch.dns_lookups", COUNT.contains(&fetch.dns_lookups), COUNT_RULE),
            (
                "fetch.dns_servers",
                fetch.name_servers().is_some(),
                "must be addresses such as \"192.0.2.53\" or \"192.0.2.53:5353\"",
            ),
            ("fetch.host_concurrency", COUNT.contains(&fetch.host_concurrency), COUNT_RULE),
            (
                "fetch.host_overrides",
                fetch.host_overrides.values().all(|host| host.concurrency.is_none_or(|count| COUNT.contains(&count))),
                COUNT_RULE,
            ),
            ("fetch.address_concurrency", COUNT.contains(&fetch.address_concurrency), COUNT_RULE),
            (
                "fetch.host_overrides",
                fetch.host_overrides.keys().all(|pattern| is_host_pattern(pattern)),
                "must name hosts (\"cdn.example.org\"), domains (\"*.example.org\") or networks (\"203.0.113.0/24\")",
            ),
            ("preprocess.threads", preprocess.threads <= 1024, "must be at most 1024"),
            ("detect.threads", detect.threads <= 1024, "must be at most 1024"),
            ("fetch.max_body_bytes", (1..=1 << 30).contains(&fetch.max_body_bytes), "must be from 1 to 1073741824"),
            ("fetch.host_longest_rest", fetch.host_longest_rest >= fetch.host_rest, "must be at least fetch.host_rest"),
            (
                "fetch.body_budget_bytes",
                fetch.body_budget_bytes >= fetch.max_body_bytes,
                "must be at least fetch.max_body_bytes, or the largest bodies would wait for ever",
            ),
            ("fetch.host_rate", is_rate(fetch.host_rate), RATE_RULE),
            ("fetch.address_rate", is_rate(fetch.address_rate), RATE_RULE),
            (
                "fetch.host_overrides",
                fetch.host_overrides.values().all(|host| host.rate.is_none_or(is_rate)),
                RATE_RULE,
            ),
            ("fetch.user_agent", is_header_text(&fetch.user_agent), "must be printable ASCII and not empty"),
            ("preprocess.max_pixels", preprocess.max_pixels >= 1, "must be at least 1"),
            ("preprocess.max_side", preprocess.max_side >= 1, "must be at least 1"),
            ("preprocess.decode_budget_bytes", preprocess.decode_budget_bytes >= 1, "must be at least 1"),
            (
                "detect.working_size",
                (32..=4096).contains(&detect.working_size) && detect.working_size.is_multiple_of(32),
                "must be a multiple of 32 from 32 to 4096",
            ),
            ("detect.score_threshold", (0.0..=1.0).contains(&detect.score_threshold), "must be from 0 to 1"),
            ("detect.nms_iou", (0.0..=1.0).contains(&detect.nms_iou), "must be from 0 to 1"),
            ("detect.top_k", detect.top_k >= 1, "must be at least 1"),
            (
                "detect.model_sha256",
                is_sha256_or_empty(&detect.model_sha256),
                "must be 64 hexadecimal digits, or empty",
            ),
            (
                "detect.runtime_library_sha256",
                detect.runtime_library_sha256.iter().all(|sum| !sum.is_empty() && is_sha256_or_empty(sum)),
                "must be a list of sums of 64 hexadecimal digits, or an empty list",
            ),
            ("retry.attempts", retry.attempts >= 1, "must be at least 1"),
            (
                "pipeline.epoch",
                humantime::parse_rfc3339_weak(&pipeline.epoch).is_ok_and(|epoch| epoch <= SystemTime::now()),
                "must be an RFC 3339 time that has come: rows of the future would outrank all that follow",
            ),
            ("runner.lane_records", runner.lane_records >= 1, "must be at least 1"),
            ("runner.lane_running", runner.lane_running >= 1, "must be at least 1"),
            ("runner.lane_bytes", runner.lane_bytes >= 1, "must be at least 1"),
            ("runner.all_lanes_bytes", runner.all_lanes_bytes >= 1, "must be at least 1"),
            (
                "retry.later",
                retry.later.iter().all(|delay| is_delay(delay)),
                "must be a list of delays such as \"1m\" or \"1h30m\", from 1ms to 1day, without spaces: each is part \
                 of a topic's name",
            ),
            ("kafka.brokers", !kafka.brokers.trim().is_empty(), "must name at least one broker as HOST:PORT"),
            ("kafka.topic_prefix", is_topic_name(&kafka.topic_prefix), "may have letters, digits, '.', '_' and '-'"),
            ("kafka.expected_rate", kafka.expected_rate >= 0.0, "must be at least 0"),
            ("kafka.expected_image_bytes", kafka.expected_image_bytes >= 1.0, "must be at least 1"),
            ("kafka.default_job", (1..=1024).contains(&kafka.default_job.len()), "must have 1 to 1,024 bytes"),
            ("cql.contact_points", !cql.contact_points.is_empty(), "must name at least one node as HOST:PORT"),
            (
                "cql.keyspace",
                !cql.keyspace.is_empty()
                    && cql.keyspace.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
                "must have letters, digits and '_' only",
            ),
            (
                "cql.consistency",
                CONSISTENCY_LEVELS.contains(&cql.consistency.as_str()),
                "must be LOCAL_QUORUM, QUORUM, LOCAL_ONE, ONE, TWO, THREE or ALL",
            ),
            (
                "cql.password_file",
                cql.username.is_empty() == cql.password_file.is_empty(),
                "goes with cql.username: set both or neither",
            ),
            (
                "cql.job_buckets",
                cql.job_buckets.is_power_of_two() && cql.job_buckets <= 1 << 20,
                "must be a power of two from 1 to 1048576",
            ),
            (
                "http.listen",
                http.listen.is_empty() || http.listen.parse::<std::net::SocketAddr>().is_ok(),
                "must be ADDRESS:PORT such as \"0.0.0.0:9464\", or empty",
            ),
            ("monitor.interval", monitor.interval >= Duration::from_secs(1), "must be at least 1s"),
            (
                "monitor.deadline",
                monitor.deadline.is_empty() || monitor.deadline().is_some(),
                "must be an RFC 3339 time in UTC such as \"2026-11-28T09:00:00Z\", or empty",
            ),
            ("local.partitions", (1..=1024).contains(&local.partitions), "must be from 1 to 1024"),
            ("local.urls_records", local.urls_records >= 1, "must be at least 1"),
        ];
        let durations = [
            ("fetch.dns_timeout", fetch.dns_timeout),
            ("fetch.connect_timeout", fetch.connect_timeout),
            ("fetch.tls_timeout", fetch.tls_timeout),
            ("fetch.first_byte_timeout", fetch.first_byte_timeout),
            ("fetch.read_timeout", fetch.read_timeout),
            ("fetch.total_timeout", fetch.total_timeout),
            ("fetch.min_rate_grace", fetch.min_rate_grace),
            ("fetch.host_wasted", fetch.host_wasted),
            ("fetch.host_rest", fetch.host_rest),
            ("fetch.host_longest_rest", fetch.host_longest_rest),
            ("preprocess.decode_timeout", preprocess.decode_timeout),
            ("retry.base", retry.base),
            ("retry.cap", retry.cap),
            ("runner.lane_age", runner.lane_age),
            ("runner.drain_timeout", runner.drain_timeout),
            ("kafka.start_timeout", kafka.start_timeout),
            ("cql.request_timeout", cql.request_timeout),
            ("monitor.interval", monitor.interval),
        ];
        if let Some((key, _)) = durations.iter().find(|(_, duration)| !DURATIONS.contains(duration)) {
            return Err(invalid(&self.layers, key, "must be from 1ms to 1day"));
        }
        match rules.iter().find(|(_, holds, _)| !holds) {
            Some((key, _, problem)) => Err(invalid(&self.layers, key, *problem)),
            None => Ok(()),
        }
    }
}

/// What a part of a Kafka topic's name may have.
fn is_topic_name(text: &str) -> bool {
    text.len() <= 200 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// What fetch makes a `HostPattern` of.
fn is_host_pattern(text: &str) -> bool {
    if text.parse::<std::net::IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok() {
        return true;
    }
    // What no host's name has can match none: a port, a path, a letter that is written otherwise in a URL.
    let name = text.strip_prefix("*.").unwrap_or(text);
    !name.is_empty() && name.is_ascii() && !name.starts_with('.') && !name.contains(['*', ' ', ':', '/'])
}

/// A delay that can be the end of a topic's name.
fn is_delay(text: &str) -> bool {
    is_topic_name(text) && humantime::parse_duration(text).is_ok_and(|delay| DURATIONS.contains(&delay))
}

fn is_header_text(text: &str) -> bool {
    !text.trim().is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn is_sha256_or_empty(text: &str) -> bool {
    text.is_empty() || (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
