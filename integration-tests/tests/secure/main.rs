//! Servers that let nobody in without TLS and a password, and users who may do nothing until somebody allows it.
//! `scripts/it.sh` starts them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)] // tests

#[path = "../support/program.rs"]
mod program;
#[path = "../support/scripts.rs"]
mod scripts;

use std::{
    env,
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use integration_tests::{Options, WebServer, photos};
use program::{Ended, Place, finish, rows, start};

/// The folder of the servers: their addresses, their authority and their users' passwords.
fn stack() -> PathBuf {
    env::var_os("FACEMILL_TEST_SECURE").expect("FACEMILL_TEST_SECURE is a secure stack; `make it` starts one").into()
}

/// A user's own topics, groups and keyspace on the secure servers.
struct Secure {
    place: Place,
    prefix: String,
    keyspace: String,
    words: String,
}

impl Secure {
    fn new(name: &str) -> Self {
        let unique = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() % 1_000_000_000;
        let prefix = format!("{name}-{unique}.");
        let keyspace = format!("{name}_{unique}");
        let words = format!(
            "--config {} --set kafka.topic_prefix={prefix} --set kafka.group_prefix={prefix} \
             --set cql.keyspace={keyspace} --set fetch.user_agent=test@example.org",
            stack().join("facemill.toml").display()
        );
        Secure { place: Place::new(), prefix, keyspace, words }
    }

    fn with_keyspace(name: &str) -> Self {
        let secure = Self::new(name);
        secure.facemill("schema apply --yes --create-keyspace --replication-factor 1").success();
        secure
    }

    /// With topics too, to which the user `facemill` has no right.
    fn with_topics(name: &str) -> Self {
        let secure = Self::with_keyspace(name);
        let password = stack().join("secrets/kafka-admin.password");
        let login = "--set kafka.config.sasl.username=admin --set kafka.config_files.sasl.password=";
        let topics = format!("topics apply --yes --partitions 1 --replicas 1 {login}{}", password.display());
        secure.facemill(&topics).success();
        secure
    }

    fn command(&self, words: &str) -> Command {
        self.place.facemill(&format!("{words} {}", self.words))
    }

    fn facemill(&self, words: &str) -> Ended {
        finish(self.command(words))
    }

    /// What `facemill check WORDS` prints, which ends with this code.
    #[track_caller]
    fn check(&self, words: &str, code: i32) -> String {
        self.facemill(&format!("check --timeout 5s {words}")).with_code(code).stdout
    }

    /// What `facemill run WORDS` says before it gives up.
    #[track_caller]
    fn refused(&self, words: &str) -> Ended {
        let soon = "run --stage fetch,preprocess,detect --set kafka.start_timeout=5s --set http.listen=127.0.0.1:0";
        self.facemill(&format!("{soon} {words}")).with_code(1).says(&[])
    }

    /// Gives the user `facemill` rights to everything that begins with the prefix.
    fn allow(&self, operations: &[&str], resource: &str) {
        self.change_rights("--add", operations, resource);
    }

    /// Takes them away again.
    fn forbid(&self, operations: &[&str], resource: &str) {
        self.change_rights("--remove --force", operations, resource);
    }

    fn change_rights(&self, how: &str, operations: &[&str], resource: &str) {
        let operations: Vec<_> = operations.iter().map(|operation| format!("--operation {operation}")).collect();
        let who = "--allow-principal User:facemill --resource-pattern-type prefixed";
        kafka("acls", &format!("{how} {who} {} --{resource} {}", operations.join(" "), self.prefix), "");
    }
}

/// One of Kafka's own tools, as the user who may do everything.
#[track_caller]
fn kafka(name: &str, words: &str, input: &str) {
    scripts::kafka(name, &env::var("FACEMILL_TEST_KAFKA").unwrap(), words, input.as_bytes());
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
}

#[test]
#[ignore = "needs the secure stack: make it"]
fn each_right_that_is_missing_is_named_and_with_all_of_them_urls_become_rows() {
    let secure = Secure::with_topics("rights");
    let hidden = &["urls' is not there, or this user may not see it", "--operation Describe"];
    has(&secure.check("", 1), hidden);
    has(&secure.refused("").stderr, &["Kafka refuses", &secure.prefix, "kafka-acls"]);

    secure.allow(&["Describe"], "topic");
    secure.allow(&["Read"], "group");
    has(&secure.check("", 1), &["FAILED   group", "it may be seen, not read", "kafka-acls"]);
    secure.forbid(&["Read"], "group");
    secure.allow(&["Read"], "topic");
    has(&secure.check("", 1), &["warning  topic", "--operation DescribeConfigs", "FAILED   group"]);
    secure.allow(&["DescribeConfigs"], "topic");
    let parts = &["Kafka refuses", "rights.fetch", "kafka-acls"].map(|part| part.replace("rights.", &secure.prefix));
    has(&secure.check("", 1), &parts.each_ref().map(String::as_str));

    secure.allow(&["Read"], "group");
    let read_only = &["may not write to the topic", "images'", "kafka-acls --operation Write"];
    let check = secure.check("", 1);
    has(&check, read_only);
    assert!(check.contains("dlq'") && !check.contains("urls'"), "only what is written: {check}");
    has(&secure.refused("").stderr, &read_only[..1]);

    secure.allow(&["Write"], "topic");
    has(&secure.check("", 0), &["may write "]);

    let server = WebServer::start(Options::new(photos().unwrap())).unwrap();
    let mut run = start(
        secure.command("run --stage fetch,preprocess,detect --allow-network 127.0.0.0/8 --set http.listen=127.0.0.1:0"),
    );
    kafka("console-producer", &format!("--topic {}urls", secure.prefix), &server.url("/photos/gauss.png\n"));
    let mut found = Vec::new();
    run.until(|| {
        found = rows(&secure.facemill("export --store cql").success().stdout);
        !found.is_empty()
    });
    assert_eq!(found[0]["status"], "detected");
    run.signal("TERM");
    run.end().success();
}

#[test]
#[ignore = "needs the secure stack: make it"]
fn a_login_or_a_connection_that_the_brokers_do_not_take_is_named() {
    let secure = Secure::with_keyspace("brokers");
    has(&secure.check("--set kafka.config.sasl.mechanism=PLAIN", 1), &["ok       brokers"]);

    secure.place.write("wrong", "wrong\n");
    let wrong = "--set kafka.config_files.sasl.password=wrong";
    for words in [wrong.to_owned(), format!("{wrong} --set kafka.config.sasl.mechanism=PLAIN")] {
        let check = secure.check(&words, 1);
        has(&check, &["FAILED   brokers", "Authentication failed", "kafka.config"]);
        let run = secure.refused(&words);
        has(&run.stderr, &["no Kafka broker", "kafka.config", "login"]);
        has(&run.stdout, &["Authentication failed"]);
    }
    for words in ["--set kafka.config.ssl.ca.location=probe", "--set kafka.config.security.protocol=SASL_PLAINTEXT"] {
        has(&secure.check(words, 1), &["FAILED   brokers", "kafka.config"]);
        has(&secure.refused(words).stderr, &["no Kafka broker", "security.protocol", "kafka.config"]);
    }
}

#[test]
#[ignore = "needs the secure stack: make it"]
fn a_login_or_a_connection_that_the_database_does_not_take_is_named() {
    let secure = Secure::with_keyspace("database");
    has(&secure.check("", 1), &["ok       database"]);
    secure.place.write("wrong", "wrong\n");
    for (words, parts) in [
        ("--set cql.password_file=wrong", ["refuses the login of 'facemill'", "cql.password_file"]),
        ("--set cql.username= --set cql.password_file=", ["asks for a name and a password", "cql.username"]),
        ("--set cql.tls=false", ["no CQL node answers", "cql.tls "]),
        ("--set cql.tls_ca_file=", ["certificate", "cql.tls_ca_file"]),
    ] {
        let check = secure.check(words, 1);
        has(&check, &["FAILED   database"]);
        has(&check, &parts);
        has(&secure.refused(words).stderr, &parts);
    }

    // A user who may read the tables and not write them.
    let admin = stack().join("secrets/cql-cassandra.password");
    let login = format!("--set cql.username=cassandra --set cql.password_file={}", admin.display());
    let other = Secure::new("reader");
    other.facemill(&format!("schema apply --yes --create-keyspace --replication-factor 1 {login}")).success();
    scripts::cqlsh(&format!("GRANT SELECT ON KEYSPACE {} TO facemill", other.keyspace));
    let parts = &["MODIFY", "grant this user"];
    has(&other.check("", 1), parts);
    has(&other.refused("").stderr, parts);
    scripts::cqlsh(&format!("GRANT MODIFY ON KEYSPACE {} TO facemill", other.keyspace));
    has(&other.check("", 1), &["ok       database"]);
}
