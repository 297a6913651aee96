use integration_tests::WebServer;

use crate::{
    pictures::demo_server,
    program::{Place, finish},
};

const PATHS: [&str; 4] = ["/photos/newton.png", "/pixel.png", "/missing.jpg", "/page.jpg"];

/// A finished run over four URLs: two detected, a 404, a page.
fn finished() -> (Place, WebServer) {
    let (place, server) = (Place::new(), demo_server());
    place.write("urls.txt", PATHS.map(|path| server.url(path)).join("\n"));
    finish(place.local("urls.txt")).success().counts("4 of 4 URLs: 2 detected (1 faces), 2 failed, 0 skipped");
    assert_eq!(server.total_hits(), 4);
    (place, server)
}

fn hits(server: &WebServer) -> [usize; 4] {
    PATHS.map(|path| server.hits(path))
}

#[test]
fn the_same_command_again_fetches_nothing_and_changes_nothing() {
    let (place, server) = finished();
    let before = place.rows("");
    let again =
        finish(place.local("urls.txt")).success().counts("4 of 4 URLs: 0 detected (0 faces), 0 failed, 4 skipped");
    assert_eq!(again.stdout, "", "only what was done is printed");
    assert_eq!(server.total_hits(), 4);
    assert_eq!(place.rows(""), before);
}

#[test]
fn lines_that_are_no_urls_are_skipped_like_others_the_second_time() {
    let place = Place::new();
    place.write("urls.txt", b"not a url\n\xff\n");
    finish(place.local("urls.txt")).success().counts("2 failed, 0 skipped");
    let before = place.rows("");
    finish(place.local("urls.txt")).success().counts("0 failed, 2 skipped");
    assert_eq!(place.rows(""), before);
    finish(place.local("urls.txt --retry invalid_record")).success().counts("1 failed, 1 skipped");
}

#[test]
fn a_longer_list_only_fetches_what_is_new() {
    let (place, server) = finished();
    let longer = [&PATHS[..], &["/photos/gauss.png"]].concat();
    place.write("longer.txt", longer.iter().map(|path| server.url(path) + "\n").collect::<String>());
    finish(place.local("longer.txt")).success().counts("1 detected (1 faces), 0 failed, 4 skipped");
    assert_eq!((hits(&server), server.hits("/photos/gauss.png")), ([1, 1, 1, 1], 1));
}

#[test]
fn retry_does_again_what_it_names_and_nothing_else() {
    let (place, server) = finished();
    finish(place.local("urls.txt --retry http_client_error")).success().counts("1 failed, 3 skipped");
    assert_eq!(hits(&server), [1, 1, 2, 1]);
    finish(place.local("urls.txt --retry read_timeout --retry not_an_image")).success().counts("1 failed, 3 skipped");
    assert_eq!(hits(&server), [1, 1, 2, 2]);
    finish(place.local("urls.txt --retry failed")).success().counts("2 failed, 2 skipped");
    assert_eq!(hits(&server), [1, 1, 3, 3]);
    assert_eq!(place.rows_by_url("").len(), 4);
}

#[test]
fn a_failure_that_passed_is_a_detection_after_its_retry() {
    let (place, server) = (Place::new(), demo_server());
    let url = server.url("/flaky.jpg?1");
    finish(place.local(&format!("{url} --set retry.attempts=1"))).success().counts("1 failed");
    finish(place.local(&format!("{url} --retry http_server_error"))).success().counts("1 detected");
    assert_eq!(place.rows_by_url("")[&url]["status"], "detected");
    assert_eq!(place.rows("--status failed").len(), 0);
}

#[test]
fn a_setting_that_decides_which_faces_are_found_does_everything_again() {
    let (place, server) = finished();
    let fingerprint = place.rows("")[0]["pipeline"]["fingerprint"].clone();
    let strict = "urls.txt --set detect.score_threshold=0.99";
    finish(place.local(strict)).success().counts("2 detected (0 faces), 2 failed, 0 skipped");
    assert_eq!(hits(&server), [2; 4]);
    assert!(place.rows("").iter().all(|row| row["pipeline"]["fingerprint"] != fingerprint));
    finish(place.local(strict)).success().counts("4 skipped");
    // One that does not, does not.
    finish(place.local(&format!("{strict} --set fetch.concurrency=3 --set detect.threads=1")))
        .success()
        .counts("4 skipped");
    assert_eq!(hits(&server), [2; 4]);
}

#[test]
fn a_raised_epoch_does_everything_again() {
    let (place, server) = finished();
    let raised = "urls.txt --set pipeline.epoch=2026-01-01T00:00:00Z";
    finish(place.local(raised)).success().counts("2 detected (1 faces), 2 failed, 0 skipped");
    assert_eq!(hits(&server), [2; 4]);
    assert!(place.rows("").iter().all(|row| row["pipeline"]["epoch"] == "2026-01-01T00:00:00.000000Z"));
    finish(place.local(raised)).success().counts("4 skipped");
}

#[test]
fn another_job_gets_the_stored_rows_without_a_fetch() {
    let (place, server) = finished();
    let two = PATHS[..2].iter().map(|path| server.url(path) + "\n").collect::<String>();
    place.write("two.txt", two);
    finish(place.local("two.txt --job second")).success().counts("2 skipped");
    assert_eq!(server.total_hits(), 4);
    let second = place.rows("--job second");
    assert_eq!(second.len(), 2);
    assert!(second.iter().all(|row| row["job"] == "second" && row["status"] == "detected"));
    assert_eq!(place.rows("--job default").len(), 4);
    assert_eq!(place.rows("").len(), 4);
    finish(place.facemill("export --job third")).with_code(1).says(&["third", "default", "second"]);
}

#[test]
fn a_url_that_is_listed_often_has_one_row() {
    let (place, server) = (Place::new(), demo_server());
    let url = server.url("/pixel.png");
    place.write("urls.txt", format!("{url}\n{url}#fragment\n{url}\n{}\n", url.replace("http", "HTTP")));
    finish(place.local("urls.txt")).success();
    assert_eq!(place.rows_by_url("").len(), 1);
}
