//! The shape of the settings. What each key means stands in `config/default.toml`.
#![expect(missing_docs, reason = "config/default.toml documents every key")]

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde::Deserialize;

use super::properties::Properties;

/// `[fetch]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchSettings {
    pub user_agent: String,
    pub concurrency: usize,
    pub body_budget_bytes: usize,
    pub max_body_bytes: usize,
    pub dns_servers: Vec<String>,
    pub dns_lookups: usize,
    #[serde(with = "humantime_serde")]
    pub dns_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub tls_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub first_byte_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub read_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub total_timeout: Duration,
    pub min_rate_bytes: u64,
    #[serde(with = "humantime_serde")]
    pub min_rate_grace: Duration,
    pub max_redirects: u32,
    pub honour_robots_tag: bool,
    pub honour_robots_txt: bool,
    /// See `config/default.toml`.
    pub http2: bool,
    pub allow_networks: Vec<ipnet::IpNet>,
    pub host_concurrency: usize,
    pub host_rate: f64,
    pub host_queue: usize,
    pub host_failures: u32,
    #[serde(with = "humantime_serde")]
    pub host_wasted: Duration,
    #[serde(with = "humantime_serde")]
    pub host_rest: Duration,
    #[serde(with = "humantime_serde")]
    pub host_longest_rest: Duration,
    pub address_concurrency: usize,
    pub address_rate: f64,
    pub host_overrides: HashMap<String, HostOverride>,
}

impl FetchSettings {
    /// The addresses of [`FetchSettings::dns_servers`]; `None` if one of them is none.
    pub fn name_servers(&self) -> Option<Vec<SocketAddr>> {
        const DNS_PORT: u16 = 53;
        let address = |text: &String| text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse().ok()?, DNS_PORT)));
        self.dns_servers.iter().map(address).collect()
    }

    /// Whether the owner of a server can find out from the User-Agent whom to ask: an e-mail address, or a page.
    pub fn has_contact(&self) -> bool {
        self.user_agent.contains('@') || self.user_agent.contains("://")
    }

    /// Whether only networks of this machine are opened.
    pub fn rehearses(&self) -> bool {
        !self.allow_networks.is_empty() && self.allow_networks.iter().all(|network| network.network().is_loopback())
    }

    /// Whether nobody else would need to know whom to ask, or can.
    pub fn is_polite(&self) -> bool {
        self.rehearses() || self.has_contact()
    }
}

/// `[fetch.host_overrides."…"]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostOverride {
    pub concurrency: Option<usize>,
    pub rate: Option<f64>,
}

/// `[preprocess]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreprocessSettings {
    pub max_pixels: u64,
    pub max_side: u32,
    pub decode_budget_bytes: usize,
    pub threads: usize,
    pub isolate: bool,
    #[serde(with = "humantime_serde")]
    pub decode_timeout: Duration,
    pub frame_format: FrameFormatSetting,
}

/// `preprocess.frame_format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameFormatSetting {
    Auto,
    Rgb8,
    Jpeg,
}

/// `[detect]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectSettings {
    pub model: PathBuf,
    pub model_sha256: String,
    pub runtime_library: PathBuf,
    pub runtime_library_sha256: Vec<String>,
    pub device: DeviceSetting,
    pub working_size: u32,
    pub score_threshold: f32,
    pub nms_iou: f32,
    pub top_k: usize,
    pub threads: usize,
}

/// `detect.device`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceSetting {
    Cpu,
    Cuda,
}

/// `[retry]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrySettings {
    pub attempts: u32,
    #[serde(with = "humantime_serde")]
    pub base: Duration,
    #[serde(with = "humantime_serde")]
    pub cap: Duration,
    pub later: Vec<String>,
}

/// `[pipeline]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineSettings {
    pub epoch: String,
}

/// `[runner]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunnerSettings {
    pub lane_records: usize,
    pub lane_running: usize,
    pub lane_bytes: usize,
    pub all_lanes_bytes: usize,
    #[serde(with = "humantime_serde")]
    pub lane_age: Duration,
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
}

/// `[kafka]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    pub brokers: String,
    pub topic_prefix: String,
    pub group_prefix: String,
    pub results_topic: bool,
    pub default_job: String,
    pub images_backlog_bytes: u64,
    pub expected_rate: f64,
    pub expected_image_bytes: f64,
    #[serde(with = "humantime_serde")]
    pub start_timeout: Duration,
    pub config: Properties,
    pub config_files: Properties,
}

/// `[cql]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CqlSettings {
    pub contact_points: Vec<String>,
    pub keyspace: String,
    pub datacenter: String,
    pub consistency: String,
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    pub username: String,
    pub password_file: String,
    pub tls: bool,
    pub tls_ca_file: String,
    pub job_buckets: u32,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    pub listen: String,
}

/// `[monitor]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorSettings {
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    pub deadline: String,
}

impl MonitorSettings {
    /// The time of [`MonitorSettings::deadline`], if there is one.
    pub fn deadline(&self) -> Option<SystemTime> {
        humantime::parse_rfc3339_weak(&self.deadline).ok()
    }
}

/// `[local]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalSettings {
    pub partitions: usize,
    pub urls_records: usize,
    pub images_bytes: usize,
    pub frames_bytes: usize,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    pub level: String,
    pub format: LogFormat,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Auto,
    Text,
    Json,
}

/// All of it, checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub fetch: FetchSettings,
    pub preprocess: PreprocessSettings,
    pub detect: DetectSettings,
    pub retry: RetrySettings,
    pub pipeline: PipelineSettings,
    pub runner: RunnerSettings,
    pub kafka: KafkaSettings,
    pub cql: CqlSettings,
    pub http: HttpSettings,
    pub monitor: MonitorSettings,
    pub local: LocalSettings,
    pub log: LogSettings,
}
