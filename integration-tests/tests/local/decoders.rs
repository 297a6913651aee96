//! The processes that decode: what becomes of the pictures, and of the run, when they do not live up to it.

use std::{fs, path::Path, thread, time::Duration};

use integration_tests::{Options, WebServer};

use crate::{
    pictures::write_small,
    program::{Place, Running, children, signal, start},
};

const URLS: usize = 300;

/// A run over pictures that are fetched so slowly that something can happen meanwhile.
fn run(place: &Place, photos: &Place, settings: &str) -> (WebServer, Running) {
    write_small(&photos.path(""), 8, 75);
    let delay = Duration::from_millis(100);
    let server = WebServer::start(Options { delay, ..Options::new(photos.path("")) }).unwrap();
    place.write("urls.txt", (0..URLS).map(|n| server.url(&format!("/counted/{n}.jpg\n"))).collect::<String>());
    let run = start(place.local(&format!("urls.txt --output none --set preprocess.threads=2 {settings}")));
    (server, run)
}

#[test]
fn decoders_that_are_killed_cost_no_picture() {
    let (place, photos) = (Place::new(), Place::new());
    let (server, mut run) = run(&place, &photos, "");
    for round in 1..=4 {
        // Long enough after the one before: a picture has no third decoder.
        run.until(|| server.total_hits() > round * URLS / 5);
        let program = run.id();
        let oldest = *children(program).iter().min().unwrap();
        assert!(signal(oldest.0, "KILL"));
        run.until(|| children(program).len() == 2 && !children(program).contains(&oldest));
    }
    run.end().success().counts("300 of 300 URLs: 300 detected");
}

#[test]
fn a_picture_whose_decoder_hangs_has_another_one_in_time() {
    let (place, photos) = (Place::new(), Place::new());
    let (server, mut run) = run(&place, &photos, "--set preprocess.decode_timeout=2s");
    run.until(|| server.total_hits() > URLS / 10);
    let children = run.children();
    assert_eq!(children.len(), 2, "{children:?}");
    assert!(children.iter().all(|(child, _)| signal(*child, "STOP")));
    run.end().success().says(&["decoder is replaced"]).counts("300 of 300 URLs: 300 detected");
}

#[test]
fn decoders_end_with_the_program_however_that_one_ends() {
    let (place, photos) = (Place::new(), Place::new());
    let (server, mut run) = run(&place, &photos, "");
    run.until(|| server.total_hits() > URLS / 10);
    let children = run.children();
    assert_eq!(children.len(), 2, "{children:?}");
    // A terminal sends Ctrl-C to a whole group: decoders are in none that gets it before they have finished.
    assert!(children.iter().all(|(child, group)| child == group), "{children:?}");
    run.kill();
    let lives = |child: u32| fs::read_to_string(Path::new("/proc").join(child.to_string()).join("stat"));
    for _ in 0..500 {
        if children.iter().all(|(child, _)| lives(*child).map_or(true, |stat| stat.contains(") Z "))) {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("decoders without a parent go on");
}

#[test]
fn a_decoder_has_a_limit_of_memory_and_none_of_the_settings_and_secrets_of_the_program() {
    let (place, photos) = (Place::new(), Place::new());
    let (server, mut run) = run(&place, &photos, "");
    run.until(|| server.total_hits() > URLS / 4);
    let children = run.children();
    assert!(!children.is_empty());
    for (child, _) in children {
        let limits = fs::read_to_string(format!("/proc/{child}/limits")).unwrap();
        let data = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
        let bytes: u64 = data.split_whitespace().nth(3).unwrap().parse().unwrap();
        // Of the picture under work, or of the next one, which may be large.
        assert!((1 << 27..1 << 31).contains(&bytes), "{data}");
        let environment = fs::read(format!("/proc/{child}/environ")).unwrap();
        assert!(!String::from_utf8_lossy(&environment).contains("FACEMILL"));
        let files = fs::read_dir(format!("/proc/{child}/fd")).unwrap();
        let open: Vec<_> = files.map(|file| fs::read_link(file.unwrap().path()).unwrap_or_default()).collect();
        assert!(!open.iter().any(|file| file.ends_with("facemill.db")), "{open:?}");
    }
}
