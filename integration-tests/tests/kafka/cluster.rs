//! A cluster of its own for each test, on servers that all tests share: topics, groups and a keyspace that nobody
//! else uses.

use std::{
    any::Any,
    cell::Cell,
    collections::BTreeMap,
    env, fs,
    net::TcpListener,
    ops::Range,
    path::Path,
    process,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use scylla::client::session_builder::SessionBuilder;
use serde_json::Value;

use crate::{
    process::Process,
    program::{Ended, PATIENCE, Place, by_url, finish, rows},
};

/// Of every topic: two for each of three replicas.
pub const PARTITIONS: i32 = 6;

pub const ALL: &str = "fetch,preprocess,detect";

/// Tests that hurt the servers are alone with them.
static SERVERS: RwLock<()> = RwLock::new(());

/// A test's part of the servers.
pub struct Cluster {
    pub place: Place,
    /// Of its topics and groups.
    pub prefix: String,
    pub brokers: String,
    pub keyspace: String,
    started: Cell<usize>,
    /// Until the test is over.
    _turn: Box<dyn Any>,
}

/// What differs from the usual.
#[derive(Default)]
pub struct Setup<'a> {
    /// Delays of the topics in which URLs wait: `1s`, with `retry.later` to match.
    pub later: &'a [&'a str],
    /// Limits of records by topic.
    pub max_bytes: &'a [(&'a str, usize)],
}

fn server(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| panic!("{variable} says where the server is; `make it` sets it"))
}

impl Cluster {
    /// With others at the same time.
    pub fn new(name: &str) -> Self {
        Self::with(name, &Setup::default())
    }

    pub fn with(name: &str, setup: &Setup<'_>) -> Self {
        Self::build(name, setup, Box::new(SERVERS.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Alone with the servers.
    pub fn alone(name: &str) -> Self {
        Self::build(name, &Setup::default(), Box::new(SERVERS.write().unwrap_or_else(PoisonError::into_inner)))
    }

    fn build(name: &str, setup: &Setup<'_>, turn: Box<dyn Any>) -> Self {
        let cluster = Self::configured(name, setup, turn);
        cluster.facemill("schema apply --yes --create-keyspace --replication-factor 1").success();
        cluster.apply_topics(setup);
        cluster
    }

    fn configured(name: &str, setup: &Setup<'_>, turn: Box<dyn Any>) -> Self {
        let (brokers, contact_point) = (server("FACEMILL_TEST_KAFKA"), server("FACEMILL_TEST_CQL"));
        let unique = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() % 1_000_000_000;
        let prefix = format!("it-{name}-{unique}.");
        let keyspace = format!("it_{}_{unique}", name.replace('-', "_"));
        let later = serde_json::to_string(setup.later).unwrap();
        let place = Place::new();
        // Members that die are missed soon. Few threads and small frames, because there are
        // many processes.
        place.write(
            "facemill.toml",
            format!(
                r#"
[kafka]
brokers = "{brokers}"
topic_prefix = "{prefix}"
group_prefix = "{prefix}"
[kafka.config]
"session.timeout.ms" = "6000"
"heartbeat.interval.ms" = "500"
[cql]
contact_points = ["{contact_point}"]
keyspace = "{keyspace}"
datacenter = "datacenter1"
job_buckets = 4
[fetch]
allow_networks = ["127.0.0.0/8"]
[retry]
attempts = 1
later = {later}
[preprocess]
threads = 1
[detect]
threads = 1
working_size = 384
[log]
format = "text"
"#
            ),
        );
        Cluster { place, prefix, brokers, keyspace, started: Cell::new(0), _turn: turn }
    }

    /// The topics of the checkout with as many replicas as in production, and other waits.
    fn apply_topics(&self, setup: &Setup<'_>) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topics");
        let to = self.place.path("topics");
        fs::create_dir(&to).unwrap();
        for topic in ["urls", "images", "frames", "results", "dlq"] {
            let mut text = fs::read_to_string(from.join(format!("{topic}.yaml"))).unwrap();
            if let Some((_, limit)) = setup.max_bytes.iter().find(|(limited, _)| *limited == topic) {
                let line = text.lines().find(|line| line.contains("max.message.bytes")).unwrap().to_owned();
                text = text.replace(&line, &format!("  max.message.bytes: {limit}"));
            }
            fs::write(to.join(format!("{topic}.yaml")), text).unwrap();
        }
        let waiting = fs::read_to_string(from.join("urls.retry.1m.yaml")).unwrap();
        for delay in setup.later {
            let text = waiting.replace("urls.retry.1m", &format!("urls.retry.{delay}"));
            fs::write(to.join(format!("urls.retry.{delay}.yaml")), text).unwrap();
        }
        self.facemill(&format!("topics apply --yes --dir topics --partitions {PARTITIONS} --timeout 60s")).success();
    }

    /// Runs a command to its end, with this cluster's settings.
    pub fn facemill(&self, words: &str) -> Ended {
        finish(self.place.facemill(&format!("{words} --config facemill.toml")))
    }

    /// Starts a process of these stages and waits until it has joined its groups.
    #[track_caller]
    pub fn run(&self, stages: &str, words: &str) -> Process {
        self.run_with(stages, words, &[])
    }

    /// The same, with these variables in its environment.
    #[track_caller]
    pub fn run_with(&self, stages: &str, words: &str, variables: &[(&str, &str)]) -> Process {
        self.start(stages, &format!("run --stage {stages} {words}"), free_port(), variables)
    }

    /// The same, where one was before.
    #[track_caller]
    pub fn run_at(&self, stages: &str, words: &str, port: u16) -> Process {
        self.start(stages, &format!("run --stage {stages} {words}"), port, &[])
    }

    /// Starts the monitor and waits until it answers.
    #[track_caller]
    pub fn monitor(&self, words: &str) -> Process {
        self.start("monitor", &format!("monitor {words}"), free_port(), &[])
    }

    /// Starts a process of these stages by another program than that of the checkout.
    #[track_caller]
    pub fn run_by(&self, program: &Path, stages: &str) -> Process {
        let port = free_port();
        let words = format!("run --stage {stages} --set http.listen=127.0.0.1:{port} --config facemill.toml");
        Process::start(self.place.command(program, &words), self.place.path(&format!("other-{stages}.log")), port)
    }

    #[track_caller]
    fn start(&self, name: &str, words: &str, port: u16, variables: &[(&str, &str)]) -> Process {
        let number = self.started.replace(self.started.get() + 1);
        let log = self.place.path(&format!("{number}-{name}.log"));
        let mut command =
            self.place.facemill(&format!("{words} --set http.listen=127.0.0.1:{port} --config facemill.toml"));
        command.envs(variables.iter().copied());
        Process::start(command, log, port)
    }

    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A statement, past facemill.
    pub fn cql(&self, statement: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let session = SessionBuilder::new().known_node(server("FACEMILL_TEST_CQL")).build().await.unwrap();
            session.query_unpaged(statement, ()).await.unwrap();
        });
    }

    /// The stored rows of the default job by URL; none stands there twice.
    pub fn rows(&self) -> BTreeMap<String, Value> {
        let ended = self.facemill("export --store cql --job default");
        // Which is an error, because it is most often a mistake.
        if ended.stderr.contains("has no result of a job") {
            return BTreeMap::new();
        }
        by_url(rows(&ended.success().stdout))
    }

    /// Waits until there are so many rows.
    #[track_caller]
    pub fn until_rows(&self, count: usize) -> BTreeMap<String, Value> {
        let mut rows = BTreeMap::new();
        let is_there = wait_for(Duration::from_millis(300), || {
            rows = self.rows();
            rows.len() >= count
        });
        assert!(is_there, "{} rows of {count}", rows.len());
        assert_eq!(rows.len(), count);
        rows
    }
}

/// Looks again and again, for as long as anything may take. Whether it came.
pub fn wait_for(pause: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let give_up = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > give_up {
            return false;
        }
        thread::sleep(pause);
    }
    true
}

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, is_so: impl FnMut() -> bool) {
    assert!(wait_for(Duration::from_millis(10), is_so), "it does not come that {what}");
}

/// A port that nobody has. None of those that the system gives to connections (from 32,768): any process may have got one
/// of them by the time that ours listens. The servers' own are from 15,000.
pub fn free_port() -> u16 {
    const PORTS: Range<u32> = 10_000..15_000;
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let mut ports =
        PORTS.map(|_| PORTS.start + (process::id() + ASKED.fetch_add(1, Relaxed)) % (PORTS.end - PORTS.start));
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find_map(|port| u16::try_from(port).ok().filter(is_free)).expect("a free port")
}
