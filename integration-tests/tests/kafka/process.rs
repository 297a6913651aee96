//! One process of `facemill run`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    thread,
    time::Duration,
};

use crate::{
    cluster::until,
    program::{Ended, Running, start},
};

/// Status and body of what answers on this port of loopback, if it does.
pub fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    // Of a version in which no answer comes in chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Dropping it kills it; where a test fails, the end of its log is shown.
pub struct Process {
    running: Option<Running>,
    log: PathBuf,
    port: u16,
}

impl Process {
    #[track_caller]
    pub fn start(mut command: Command, log: PathBuf, port: u16) -> Self {
        let file = File::create(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let mut process = Process { running: Some(start(command)), log, port };
        // It answers once it has joined its groups.
        until("it answers", || {
            assert!(process.is_running(), "it ended");
            process.try_get("/livez").is_some_and(|(status, _)| status == 200)
        });
        process
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.running().is_running()
    }

    /// Sends a signal by its name.
    pub fn signal(&mut self, name: &str) {
        self.running().signal(name);
    }

    /// SIGTERM; what is under way is finished.
    pub fn terminate(&mut self) {
        self.signal("TERM");
    }

    /// Waits for the end, after [`Process::terminate`].
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let ended = self.running.take().unwrap().end();
        if ended.status.code() != Some(0) {
            self.show_log();
        }
        ended
    }

    /// SIGTERM, and exit code 0.
    #[track_caller]
    pub fn stop(mut self) {
        self.terminate();
        self.end().success();
    }

    /// SIGKILL. It must not have ended before.
    #[track_caller]
    pub fn kill(mut self) {
        let ended = self.running.take().unwrap().kill();
        assert_eq!(ended.status.code(), None, "it had ended by itself");
    }

    /// Status and body.
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).unwrap_or_else(|| panic!("no answer to {path}"))
    }

    fn try_get(&self, path: &str) -> Option<(u16, String)> {
        get(self.port, path)
    }

    /// Where it answers.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The sum of a metric over all its labels.
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.get("/metrics");
        let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    }

    /// The lag of its partitions by topic and number, as librdkafka tells it every five seconds.
    #[track_caller]
    pub fn lags(&self) -> BTreeMap<(String, i32), u64> {
        let (_, text) = self.get("/metrics");
        let lines = text.lines().filter_map(|line| line.strip_prefix("facemill_kafka_lag{")?.split_once("} "));
        let lag = |(labels, lag): (&str, &str)| {
            let label = |name: &str| {
                let (_, rest) = labels.split_once(&format!("{name}=\"")).unwrap();
                rest.split_once('"').unwrap().0
            };
            ((label("topic").to_owned(), label("partition").parse().unwrap()), lag.parse().unwrap())
        };
        lines.map(lag).collect()
    }

    /// URLs whose row it wrote.
    #[track_caller]
    pub fn written(&self) -> u64 {
        self.metric("facemill_outcomes_total")
    }

    /// The most resident memory that it has had, in MiB.
    #[track_caller]
    pub fn peak(&mut self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.running().id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn show_log(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.len().saturating_sub(15);
        eprintln!("--- {}\n{}", self.log.file_name().unwrap().to_string_lossy(), lines[last..].join("\n"));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_log();
        }
    }
}
