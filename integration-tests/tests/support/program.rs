//! Running the program, and reading what it stored.
#![allow(dead_code)] // each test target uses a part of it

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::LazyLock,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use integration_tests::{facemill, photos};
use jsonschema::Validator;
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes here, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// A folder of its own for a test, with facemill run in it. Names in the words given to it are relative to it.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).unwrap();
    }

    /// `facemill WORDS`, with the assets of the checkout and no settings of whoever runs the tests.
    pub fn facemill(&self, words: &str) -> Command {
        self.command(&facemill().unwrap(), words)
    }

    /// `facemill local --allow-network 127.0.0.0/8 WORDS`.
    pub fn local(&self, words: &str) -> Command {
        self.facemill(&format!("local --allow-network 127.0.0.0/8 {words}"))
    }

    /// A shell that has facemill as `$0`.
    pub fn shell(&self, script: &str) -> Command {
        let mut command = self.command(Path::new("sh"), "-c");
        command.arg(script).arg(facemill().unwrap());
        command
    }

    fn command(&self, program: &Path, words: &str) -> Command {
        let assets = photos().unwrap().parent().unwrap().canonicalize().unwrap();
        let mut command = clean(program);
        command
            .env("FACEMILL__DETECT__MODEL", assets.join("face_detection_yunet_2023mar.onnx"))
            .env("FACEMILL__DETECT__RUNTIME_LIBRARY", assets.join("libonnxruntime.so"))
            .args(words.split_whitespace())
            .current_dir(self.0.path());
        command
    }

    /// The rows that `facemill export WORDS` prints, each checked against the schema.
    pub fn rows(&self, words: &str) -> Vec<Value> {
        rows(&finish(self.facemill(&format!("export {words}"))).success().stdout)
    }

    /// The rows by URL; none stands there twice.
    pub fn rows_by_url(&self, words: &str) -> BTreeMap<String, Value> {
        by_url(self.rows(words))
    }
}

/// A program without settings of whoever runs the tests, whose outputs are read.
pub fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FACEMILL") || name.starts_with("OTEL_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Rows by URL; none stands there twice.
pub fn by_url(rows: Vec<Value>) -> BTreeMap<String, Value> {
    let count = rows.len();
    let by_url: BTreeMap<_, _> = rows.into_iter().map(|row| (text(&row["url"]).to_owned(), row)).collect();
    assert_eq!(by_url.len(), count, "a URL has several rows");
    by_url
}

/// The text of a JSON string.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string"))
}

/// JSON lines, each checked against the schema.
pub fn rows(lines: &str) -> Vec<Value> {
    static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/result.schema.json");
        let schema = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
    });
    let row = |line| {
        let row = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        SCHEMA.validate(&row).unwrap_or_else(|error| panic!("{error}: {line}"));
        row
    };
    lines.lines().map(row).collect()
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Ended {
    /// Asserts the exit code.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}: {}", self.status, self.stderr);
        self
    }

    #[track_caller]
    pub fn success(self) -> Self {
        self.with_code(0)
    }

    /// Asserts that the message has all these parts, is no panic, and shows nothing of the code.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "'{part}' is not in: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Asserts that it printed all these parts.
    #[track_caller]
    pub fn shows(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stdout.contains(part), "'{part}' is not in: {}", self.stdout);
        }
        self
    }

    /// Asserts the counts of the last line.
    #[track_caller]
    pub fn counts(self, counts: &str) -> Self {
        assert!(self.stderr.contains(counts), "'{counts}' is not in: {}", self.stderr);
        self
    }
}

/// A program under way. Dropping it kills it.
pub struct Running {
    child: Child,
    started: Instant,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

/// Starts it; both outputs are read all the time.
pub fn start(mut command: Command) -> Running {
    let mut child = command.spawn().unwrap();
    let stdout = child.stdout.take().map(read_all);
    let stderr = child.stderr.take().map(read_all);
    Running { child, started: Instant::now(), stdout, stderr }
}

/// Runs it to its end.
#[track_caller]
pub fn finish(command: Command) -> Ended {
    start(command).end()
}

/// The children of a process that live: process and group.
pub fn children(parent: u32) -> Vec<(u32, u32)> {
    let stats = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let stat = fs::read_to_string(entry.unwrap().path().join("stat")).ok()?;
        // What comes after the name, which may have any character: state, parent, group.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let id = stat.split_whitespace().next()?.parse().ok()?;
        (fields[0] != "Z" && fields[1] == parent.to_string()).then(|| (id, fields[2].parse().unwrap()))
    });
    stats.collect()
}

/// Sends a signal to a process, if it is there.
pub fn signal(process: u32, name: &str) -> bool {
    let kill = format!("kill -{name} {process} 2>/dev/null");
    Command::new("sh").args(["-c", &kill]).status().unwrap().success()
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its input, of a command that has one.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// A figure of `/proc/PID/status` in MiB, over the program and its children; none once it has ended. What they share
    /// counts more than once, and peaks of different moments are added: too much, if anything.
    pub fn mebibytes(&self, name: &str) -> Option<f64> {
        let of = |process: u32| {
            let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib / 1024.0)
        };
        Some(of(self.id())? + self.children().iter().filter_map(|(child, _)| of(*child)).sum::<f64>())
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        assert!(signal(self.id(), name), "no process to send {name} to");
    }

    /// Its children that live: process and group.
    pub fn children(&self) -> Vec<(u32, u32)> {
        children(self.id())
    }

    /// Whether it runs still.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until something is so; the program must not end before.
    #[track_caller]
    pub fn until(&mut self, mut is_so: impl FnMut() -> bool) {
        let give_up = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < give_up, "it does not come");
            if !self.is_running() {
                panic!("ended too early: {}", join(&mut self.stderr));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let give_up = Instant::now() + PATIENCE;
        while self.is_running() {
            if Instant::now() > give_up {
                self.child.kill().unwrap();
                panic!("hangs: {}", join(&mut self.stderr));
            }
            thread::sleep(Duration::from_millis(2));
        }
        let took = self.started.elapsed();
        let status = self.child.wait().unwrap();
        Ended { status, stdout: join(&mut self.stdout), stderr: join(&mut self.stderr), took }
    }

    /// Ends it in the way that nothing can prepare for.
    pub fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Has ended already, in the ordinary case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn join(output: &mut Option<JoinHandle<String>>) -> String {
    output.take().map(|thread| thread.join().unwrap()).unwrap_or_default()
}
