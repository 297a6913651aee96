//! Servers that let nobody in without TLS and a password, and users who may do nothing until somebody allows it.
//! `scripts/it.sh` starts them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)] // tests

#[path = "../support/program.rs"]
mod program;

use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
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
    words: String,
}

impl Secure {
    fn new(name: &str) -> Self {
        let unique = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() % 1_000_000_000;
        let prefix = format!("{name}-{unique}.");
        let words = format!(
            "--config {} --set kafka.topic_prefix={prefix} --set kafka.group_prefix={prefix} \
             --set cql.keyspace={name}_{unique}",
            stack().join("facemill.toml").display()
        );
        Secure { place: Place::new(), prefix, words }
    }

    /// With topics, which the user `facemill` has no right to, and tables.
    fn with_tables(name: &str) -> Self {
        let secure = Self::new(name);
        secure.facemill("schema apply --yes --create-keyspace --replication-factor 1").success();
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
        self.facemill(&format!("check {words}")).with_code(code).stdout
    }

    /// What `facemill run WORDS` says before it gives up.
    #[track_caller]
    fn refused(&self, words: &str) -> String {
        let soon = "run --stage fetch,preprocess,detect --set kafka.start_timeout=5s --set http.listen=127.0.0.1:0";
        self.facemill(&format!("{soon} {words}")).with_code(1).says(&[]).stderr
    }

    /// Gives the user `facemill` rights to everything that begins with the prefix.
    fn allow(&self, operations: &[&str], resource: &str) {
        let operations: Vec<_> = operations.iter().map(|operation| format!("--operation {operation}")).collect();
        let who = "--add --allow-principal User:facemill --resource-pattern-type prefixed";
        tool("kafka-acls", &format!("{who} {} --{resource} {}", operations.join(" "), self.prefix), "");
    }
}

/// One of Kafka's own tools, as the user who may do everything.
#[track_caller]
fn tool(name: &str, words: &str, input: &str) {
    let mut child = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka").join(name))
        .args(["--bootstrap-server", &env::var("FACEMILL_TEST_KAFKA").unwrap()])
        .args(words.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{name} {words}: {}", String::from_utf8_lossy(&output.stderr));
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
    let secure = Secure::with_tables("rights");
    let hidden = &["urls' is not there, or this user may not see it", "--operation Describe"];
    has(&secure.check("", 1), hidden);
    has(&secure.refused(""), &["is not there, or this user may not see it"]);

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
    has(&secure.refused(""), &read_only[..1]);

    secure.allow(&["Write"], "topic");
    has(&secure.check("", 0), &["may write "]);

    let server = WebServer::start(Options::new(photos().unwrap())).unwrap();
    let mut run = start(
        secure.command("run --stage fetch,preprocess,detect --allow-network 127.0.0.0/8 --set http.listen=127.0.0.1:0"),
    );
    tool("kafka-console-producer", &format!("--topic {}urls", secure.prefix), &server.url("/photos/gauss.png\n"));
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
    let secure = Secure::new("brokers");
    has(&secure.check("--set kafka.config.sasl.mechanism=PLAIN", 1), &["ok       brokers"]);

    secure.place.write("wrong", "wrong\n");
    let wrong = "--set kafka.config_files.sasl.password=wrong";
    for words in [wrong.to_owned(), format!("{wrong} --set kafka.config.sasl.mechanism=PLAIN")] {
        let check = secure.check(&words, 1);
        has(&check, &["FAILED   brokers", "Authentication failed"]);
    }
    has(&secure.refused(wrong), &["Authentication failed", "kafka.config"]);
    for words in ["--set kafka.config.ssl.ca.location=probe", "--set kafka.config.security.protocol=SASL_PLAINTEXT"] {
        has(&secure.check(words, 1), &["FAILED   brokers", "kafka.config"]);
        has(&secure.refused(words), &["no Kafka broker", "kafka.config"]);
    }
}

#[test]
#[ignore = "needs the secure stack: make it"]
fn a_login_or_a_connection_that_the_database_does_not_take_is_named() {
    let secure = Secure::new("database");
    secure.facemill("schema apply --yes --create-keyspace --replication-factor 1").success();
    has(&secure.check("", 1), &["ok       database"]);
    secure.place.write("wrong", "wrong\n");
    for (words, parts) in [
        ("--set cql.password_file=wrong", ["cql.password_file", "facemill"]),
        ("--set cql.username=", ["cql.username", "password"]),
        ("--set cql.tls=false", ["cql.tls", "TLS"]),
        ("--set cql.tls_ca_file=", ["cql.tls_ca_file", "certificate"]),
    ] {
        let check = secure.check(words, 1);
        has(&check, &["FAILED   database"]);
        has(&check, &parts);
        has(&secure.refused(words), &parts);
    }
}
