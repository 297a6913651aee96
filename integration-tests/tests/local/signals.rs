use std::{
    collections::BTreeMap,
    io::Write,
    process::Stdio,
    time::{Duration, Instant},
};

use integration_tests::{Options, WebServer, photos};
use serde_json::Value;

use crate::program::{Ended, Place, finish, start};

const URLS: usize = 400;

/// A server so far away that a run lasts for seconds: at most 4 URLs in 40 ms with these settings.
fn far_server() -> WebServer {
    WebServer::start(Options { delay: Duration::from_millis(40), ..Options::new(photos().unwrap()) }).unwrap()
}

const SLOW: &str = "urls.txt --output none --set fetch.host_concurrency=4";

fn paths() -> impl Iterator<Item = String> {
    (0..URLS).map(|n| if n % 5 == 0 { format!("/missing.jpg?{n}") } else { format!("/pixel.png?{n}") })
}

/// The number in "N URLs are left".
fn left(ended: &Ended) -> usize {
    let words: Vec<&str> = ended.stderr.split_whitespace().collect();
    let at = words.windows(3).position(|words| words[1..] == ["URLs", "are"]).unwrap_or_else(|| panic!("{ended:?}"));
    words[at].parse().unwrap()
}

/// A run that a signal interrupts in the middle, and the same command again.
fn interrupted_and_resumed(signal: &str, code: i32, settings: &str, uncounted: usize) {
    let (place, server) = (Place::new(), far_server());
    place.write("urls.txt", paths().map(|path| server.url(&path) + "\n").collect::<String>());
    let words = format!("{SLOW} {settings}");
    let mut run = start(place.local(&words));
    run.until(|| server.total_hits() >= 50);
    run.signal(signal);
    let asked = Instant::now();
    let ended = run.end().with_code(code).says(&["finishing what is under way", "The same command again goes on"]);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?} to drain");

    let kept: BTreeMap<String, Value> = place.rows_by_url("");
    // A row that was on its way into the database when the time was up may be stored without being counted.
    let counted = URLS - left(&ended);
    assert!((counted..=counted + uncounted).contains(&kept.len()), "{} rows: {}", kept.len(), ended.stderr);
    assert!(kept.len() >= 40 && kept.len() < URLS, "{} rows", kept.len());
    let before: BTreeMap<String, usize> = paths().map(|path| (server.url(&path), server.hits(&path))).collect();

    finish(place.local(&words)).success().counts(&format!("{} skipped", kept.len()));
    let rows = place.rows_by_url("");
    assert_eq!(rows.len(), URLS);
    for path in paths() {
        let url = server.url(&path);
        match kept.get(&url) {
            Some(row) => assert_eq!((server.hits(&path), &rows[&url]), (before[&url], row), "{path} was done already"),
            None => assert_eq!(server.hits(&path), before[&url] + 1, "{path} was left"),
        }
    }
    let twice = paths().filter(|path| server.hits(path) > 1).count();
    assert!(twice <= 8, "{twice} URLs were fetched for nothing: only those under way may be");
}

/// All URLs wait for their turn with the one host: only the four that have it are finished.
#[test]
fn a_signal_finishes_what_is_under_way_and_the_same_command_goes_on() {
    interrupted_and_resumed("TERM", 143, "", 0);
}

#[test]
fn a_signal_ends_the_run_within_the_drain_time_and_the_same_command_goes_on() {
    interrupted_and_resumed("INT", 130, "--set runner.drain_timeout=20ms", 8);
}

#[test]
fn a_signal_ends_the_wait_for_standard_input() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let (place, server) = (Place::new(), far_server());
        let (pipe, mut write) = std::io::pipe().unwrap();
        let mut command = place.local("- --output none");
        command.stdin(Stdio::from(pipe));
        let mut run = start(command);
        write.write_all(format!("{}\n", server.url("/pixel.png")).as_bytes()).unwrap();
        run.until(|| server.total_hits() == 1);
        run.signal(signal);
        let asked = Instant::now();
        run.end().with_code(code).says(&["the rest of the input is left"]);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert_eq!(place.rows("").len(), 1, "what had come was carried to its end");
        drop(write);
    }
}

#[test]
fn the_second_signal_ends_at_once() {
    let (place, server) = (Place::new(), far_server());
    let mut run = start(place.local(&format!("{} --output none", server.url("/slow/30000/pixel.png"))));
    run.until(|| server.total_hits() == 1);
    run.signal("INT");
    std::thread::sleep(Duration::from_millis(300));
    assert!(run.is_running(), "it waits for what is under way");
    run.signal("INT");
    let asked = Instant::now();
    run.end().with_code(130).says(&["once more to end at once"]);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(place.rows("").len(), 0);
}

#[test]
fn a_signal_after_the_last_line_does_not_make_a_finished_run_a_failed_one() {
    let (place, server) = (Place::new(), far_server());
    let mut run = start(place.local(&format!("{} --output none", server.url("/slow/700/pixel.png"))));
    run.until(|| server.total_hits() == 1);
    run.signal("TERM");
    run.end().success().says(&["finishing what is under way"]);
    assert_eq!(place.rows("").len(), 1);
}
