//! A keyspace of its own for each test, the program run on it, and rows to write.

use std::{
    env,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use facemill::{
    adapters::scylla::{JobBuckets, ScyllaOptions, ScyllaStore},
    domain::{Facts, Failure, Model, Pipeline, Reason, ResultRow, Timestamp},
};
use scylla::client::{session::Session, session_builder::SessionBuilder};

use crate::program::{Ended, clean, finish};

/// Where the database answers.
pub fn address() -> String {
    env::var("FACEMILL_TEST_CQL").expect("FACEMILL_TEST_CQL=HOST:PORT says where Cassandra answers; `make it` sets it")
}

pub const DATACENTER: &str = "datacenter1";

/// The name of a keyspace that is removed with this.
pub struct Keyspace(pub String);

impl Keyspace {
    /// A name that nobody uses; the keyspace is not made.
    pub fn absent() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Keyspace(format!("it_{}_{number}", std::process::id()))
    }

    /// With the tables.
    pub fn new() -> Self {
        let keyspace = Self::absent();
        keyspace.run("schema apply --yes --create-keyspace --replication-factor 1").success();
        keyspace
    }

    pub fn options(&self) -> ScyllaOptions {
        ScyllaOptions {
            contact_points: vec![address()],
            keyspace: self.0.clone(),
            datacenter: Some(DATACENTER.to_owned()),
            consistency: "LOCAL_QUORUM".to_owned(),
            request_timeout: Duration::from_secs(10),
            login: None,
            tls: None,
            job_buckets: JobBuckets::new(16).unwrap(),
        }
    }

    pub async fn store(&self) -> ScyllaStore {
        ScyllaStore::connect(&self.options(), std::sync::Arc::default()).await.unwrap()
    }

    /// A statement, past facemill; the first column of its answer.
    pub async fn cql<T>(&self, statement: &str) -> Vec<T>
    where
        T: for<'row> scylla::deserialize::value::DeserializeValue<'row, 'row>,
    {
        let statement = statement.replace("KS", &self.0);
        let answer = session().await.query_unpaged(statement, ()).await.unwrap();
        match answer.into_rows_result() {
            Ok(rows) => rows.rows::<(T,)>().unwrap().map(|row| row.unwrap().0).collect(),
            Err(_) => Vec::new(),
        }
    }

    pub async fn execute(&self, statement: &str) {
        self.cql::<String>(statement).await;
    }

    /// `facemill WORDS` on this keyspace.
    pub fn command(&self, words: &str) -> Command {
        let mut command = clean(&integration_tests::facemill().unwrap());
        command
            .args(words.split_whitespace())
            .env("FACEMILL__CQL__CONTACT_POINTS", format!("[\"{}\"]", address()))
            .env("FACEMILL__CQL__KEYSPACE", &self.0)
            .env("FACEMILL__CQL__REQUEST_TIMEOUT", "20s");
        command
    }

    pub fn run(&self, words: &str) -> Ended {
        finish(self.command(words))
    }

    /// The rows that `facemill export --store cql WORDS` prints.
    pub fn rows(&self, words: &str) -> Vec<ResultRow> {
        let ended = self.run(&format!("export --store cql {words}")).success();
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        let name = self.0.clone();
        // In a thread of its own: a runtime may be running here.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                session().await.query_unpaged(format!("DROP KEYSPACE IF EXISTS {name}"), ()).await.unwrap();
            });
        });
        let _ = dropped.join();
    }
}

async fn session() -> Session {
    SessionBuilder::new().known_node(address()).build().await.unwrap()
}

/// The row of the URL with this number, submitted at second 1,000, under an epoch of so many seconds.
pub fn row(n: u32, job: &str, reason: Option<Reason>, epoch: i64) -> ResultRow {
    let facts = Facts::submitted(&format!("http://a.example/{n}.jpg"), job, Timestamp::from_micros(1_000_000_000));
    let model = Model { name: "model".to_owned(), sha256: "0".repeat(64) };
    let epoch = Timestamp::from_micros(epoch * 1_000_000);
    let pipeline = Pipeline { version: "0".to_owned(), fingerprint: "print".to_owned(), epoch };
    match reason {
        None => ResultRow::detected(facts, vec![], &model, &pipeline),
        Some(reason) => ResultRow::failed(facts, Failure::new(reason, "it did not work"), &model, &pipeline),
    }
}

pub fn detected(n: u32, job: &str) -> ResultRow {
    row(n, job, None, 0)
}
