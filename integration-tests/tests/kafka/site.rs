//! URLs of a web server that counts who asks for what.

use std::time::Duration;

use integration_tests::{Options, WebServer};
use serde_json::Value;

use crate::{pictures::write_small, program::Place};

/// A server of small photographs.
pub struct Site {
    pub server: WebServer,
    photos: Place,
}

impl Site {
    /// `delay` makes it a far-away one, so that a run lasts.
    pub fn new(delay: Duration) -> Self {
        let photos = Place::new();
        write_small(&photos.path(""), 8, 75);
        let server = WebServer::start(Options { delay, ..Options::new(photos.path("")) }).unwrap();
        Site { server, photos }
    }

    /// What the web is made of: photographs, and now and then something else.
    pub fn urls(&self, count: usize) -> Vec<String> {
        (0..count).map(|n| self.server.url(&path(n))).collect()
    }

    /// Photographs alone.
    pub fn photographs(&self, count: usize) -> Vec<String> {
        (0..count).map(|n| self.server.url(&format!("/counted/{n}.jpg"))).collect()
    }

    /// How often a URL was asked for.
    pub fn hits(&self, url: &str) -> usize {
        self.server.hits(url.strip_prefix(&self.server.base()).unwrap())
    }

    /// The size of a photograph, on average.
    pub fn mean_bytes(&self) -> u64 {
        (0..4).map(|n| self.photos.path(&format!("{n}.jpg")).metadata().unwrap().len()).sum::<u64>() / 4
    }

    /// Asserts that each was asked for once.
    #[track_caller]
    pub fn was_asked_once_for(&self, count: usize) {
        for n in 0..count {
            assert_eq!(self.server.hits(&path(n)), 1, "{}", path(n));
        }
    }
}

fn path(n: usize) -> String {
    match n % 25 {
        0 => format!("/missing.jpg?{n}"),
        8 => format!("/page.jpg?{n}"),
        16 => format!("/truncated.jpg?{n}"),
        20..25 => format!("/pixel.png?{n}"),
        _ => format!("/counted/{n}.jpg"),
    }
}

/// How the URL should end.
pub fn expected(url: &str) -> (&'static str, Option<&'static str>) {
    if url.contains("missing") {
        ("failed", Some("http_client_error"))
    } else if url.contains("page") {
        ("failed", Some("not_an_image"))
    } else {
        ("detected", None)
    }
}

/// Asserts that a row ended as its URL should, in one attempt.
#[track_caller]
pub fn is_as_expected(url: &str, row: &Value) {
    assert_eq!((row["status"].as_str().unwrap(), row["reason"].as_str()), expected(url), "{row}");
    if url.contains("counted") {
        assert!(!row["faces"].as_array().unwrap().is_empty(), "{row}");
    }
}

/// Rows without what differs from one run to the next.
pub fn comparable(rows: impl IntoIterator<Item = (String, Value)>) -> Vec<(String, Value)> {
    let without = |(url, mut row): (String, Value)| {
        let fields = row.as_object_mut().unwrap();
        for varying in ["timings", "timestamps", "attempts"] {
            assert!(fields.remove(varying).is_some(), "{varying}");
        }
        (url, row)
    };
    rows.into_iter().map(without).collect()
}
