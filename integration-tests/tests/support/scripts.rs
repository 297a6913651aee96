//! Programs of the checkout's `scripts/`.
#![allow(dead_code)] // each test target uses a part of it

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts").join(name)
}

/// `kafka-NAME --bootstrap-server BROKERS WORDS < INPUT`: what it prints.
#[track_caller]
pub fn kafka(name: &str, brokers: &str, words: &str, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(script("kafka").join(format!("kafka-{name}")))
        .args(["--bootstrap-server", brokers])
        .args(words.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let write = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    write.join().unwrap().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "kafka-{name} {words}: {stdout}{stderr}");
    output.stdout
}

/// `cqlsh -e STATEMENT`, as the user who may do everything.
#[track_caller]
pub fn cqlsh(statement: &str) {
    let output = Command::new(script("kafka/cqlsh")).args(["-e", statement]).output().unwrap();
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `kube/queries.py WORDS`: what it prints.
#[track_caller]
pub fn queries(words: &[&str]) -> String {
    let output = Command::new("python3").arg(script("kube/queries.py")).args(words).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{words:?}: {stdout}{}", String::from_utf8_lossy(&output.stderr));
    stdout.into_owned()
}

/// `stack.sh WORDS`, on the stack of this run.
#[track_caller]
pub fn stack(words: &str) {
    let output = Command::new(script("stack.sh")).args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
}
