use integration_tests::demo_list;
use serde_json::Value;

use crate::{
    namespace::inside,
    pictures::demo_server,
    program::{Place, finish, text},
};

/// Status, reason, faces, attempts.
type Outcome<'a> = (&'a str, &'a str, usize, u64);

fn outcome(row: &Value) -> Outcome<'_> {
    let reason = row["reason"].as_str().unwrap_or_default();
    (text(&row["status"]), reason, row["faces"].as_array().unwrap().len(), row["attempts"].as_u64().unwrap())
}

/// Stalls are given up soon, and retried soon.
const IMPATIENT: &str = "--set fetch.read_timeout=300ms --set retry.attempts=2 --set retry.base=10ms";

#[test]
fn every_url_of_the_demo_ends_as_it_should() {
    let (place, server) = (Place::new(), demo_server());
    place.write("urls.txt", demo_list(&server.base()));
    finish(place.local(&format!("urls.txt {IMPATIENT}"))).success().counts("10 of 10 URLs: 5 detected");

    let rows = place.rows_by_url("");
    let expected: &[(&str, Outcome<'_>)] = &[
        ("/photos/gauss.png", ("detected", "", 1, 1)),
        ("/photos/newton.png", ("detected", "", 1, 1)),
        ("/pixel.png", ("detected", "", 0, 1)),
        ("/missing.jpg", ("failed", "http_client_error", 0, 1)),
        ("/page.jpg", ("failed", "not_an_image", 0, 1)),
        ("/loop.jpg", ("failed", "too_many_redirects", 0, 1)),
        ("/stall.jpg", ("failed", "read_timeout", 0, 2)),
        ("/robots.jpg", ("failed", "opted_out", 0, 1)),
    ];
    for (path, expected) in expected {
        assert_eq!(outcome(&rows[&server.url(path)]), *expected, "{path}");
    }
    assert_eq!(rows.len(), 10);
    assert_eq!(server.hits("/stall.jpg"), 2);
    assert_eq!(server.hits("/loop.jpg"), 6);
    assert_eq!(rows[&server.url("/missing.jpg")]["http_status"], 404);

    let solvay = &rows[&server.url("/photos/solvay_conference_1927.jpg")];
    assert!(outcome(solvay).2 >= 25, "{} of 29 faces", outcome(solvay).2);
    assert_eq!(
        (&solvay["width"], &solvay["height"], &solvay["truncated"]),
        (&3000.into(), &2171.into(), &false.into())
    );
    let truncated = &rows[&server.url("/truncated.jpg")];
    assert_eq!((&truncated["status"], &truncated["truncated"]), (&"detected".into(), &true.into()));
    assert_ne!(truncated["content_sha256"], solvay["content_sha256"]);
}

#[test]
fn boxes_lie_on_the_faces_in_pixels_of_the_original_picture() {
    let (place, server) = (Place::new(), demo_server());
    finish(place.local(&server.url("/photos/gauss.png"))).success();
    let row = &place.rows("")[0];
    let face = &row["faces"][0];
    // A portrait of 1024 × 1305: the head fills the upper half of it.
    let of = |key: &str| face[key].as_f64().unwrap();
    let (centre_x, centre_y) = (of("x") + of("width") / 2.0, of("y") + of("height") / 2.0);
    assert!((400.0..700.0).contains(&centre_x) && (250.0..650.0).contains(&centre_y), "{face}");
    for landmark in face["landmarks"].as_array().unwrap() {
        let (x, y) = (landmark["x"].as_f64().unwrap(), landmark["y"].as_f64().unwrap());
        assert!((of("x")..of("x") + of("width")).contains(&x) && (of("y")..of("y") + of("height")).contains(&y));
    }
}

#[test]
fn what_passes_is_tried_again_and_what_does_not_ends_after_its_attempts() {
    let (place, server) = (Place::new(), demo_server());
    let paths = ["/flaky.jpg?1", "/status/503.jpg", "/status/429.jpg", "/moved/newton.png"];
    place.write("urls.txt", paths.map(|path| server.url(path)).join("\n"));
    finish(place.local("urls.txt --set retry.attempts=3 --set retry.base=10ms")).success();
    let rows = place.rows_by_url("");
    let flaky = outcome(&rows[&server.url("/flaky.jpg?1")]);
    assert_eq!((flaky.0, flaky.3), ("detected", 2));
    assert_eq!(outcome(&rows[&server.url("/status/503.jpg")]), ("failed", "http_server_error", 0, 3));
    assert_eq!(outcome(&rows[&server.url("/status/429.jpg")]), ("failed", "rate_limited", 0, 3));
    assert_eq!(outcome(&rows[&server.url("/moved/newton.png")]), ("detected", "", 1, 1));
    assert_eq!(["/flaky.jpg?1", "/status/503.jpg", "/moved/newton.png"].map(|path| server.hits(path)), [2, 3, 1]);
}

/// Neither stops the run, nor the lines after them.
#[test]
fn lines_that_are_no_urls_are_rows_too() {
    let (place, server) = (Place::new(), demo_server());
    let mut list = b"not a url\nftp://a.example/x.jpg\n\xff\xfe is no text\n{\"url\": 7}\n".to_vec();
    list.extend([b'x'; 100_000]);
    list.extend(format!("\nhttp://a.example/{}\n{}\n", "y".repeat(9_000), server.url("/pixel.png")).bytes());
    place.write("urls.txt", list);
    finish(place.local("urls.txt")).success().counts("7 of 7 URLs: 1 detected (0 faces), 6 failed");
    let rows = place.rows("");
    let reasons_of = |part: &str| -> Vec<&str> {
        let rows = rows.iter().filter(|row| text(&row["url"]).contains(part));
        rows.map(|row| outcome(row).1).collect()
    };
    assert_eq!(reasons_of("not a url"), ["invalid_url"]);
    assert_eq!(reasons_of("ftp:"), ["invalid_url"]);
    assert_eq!(reasons_of("is no text"), ["invalid_record"]);
    assert_eq!(reasons_of("{\"url\": 7}"), ["invalid_record"]);
    assert_eq!(reasons_of("xxxxxxxx"), ["invalid_record"]);
    assert_eq!(reasons_of("yyyyyyyy"), ["invalid_url"]);
    assert_eq!(reasons_of("/pixel.png"), [""]);
    assert!(rows.iter().all(|row| text(&row["url"]).len() < 10_000), "what is no URL is stored in part only");
}

/// Refused before any connection: each of them ends at once, although none of them would answer.
#[test]
fn addresses_outside_the_public_internet_are_refused_unless_opened() {
    if !inside("outcomes::addresses_outside_the_public_internet_are_refused_unless_opened") {
        return;
    }
    let (place, server) = (Place::new(), demo_server());
    let loopback = server.url("/pixel.png");
    let urls = [
        ("http://10.0.0.1/a.jpg", "blocked_address"),
        ("http://169.254.169.254/latest/meta-data", "blocked_address"),
        ("http://192.168.1.1/a.jpg", "blocked_address"),
        ("http://[::1]/a.jpg", "blocked_address"),
        ("http://[::ffff:a00:1]/a.jpg", "blocked_address"),
        ("http://0x7f.1/a.jpg", "blocked_address"),
        ("http://10.0.0.1:8080/a.jpg", "blocked_"),
        ("http://user:secret@10.0.0.1/a.jpg", "blocked_url"),
        (&loopback, "blocked_"),
    ];
    place.write("urls.txt", urls.map(|(url, _)| url).join("\n"));
    let ended =
        finish(place.facemill("local urls.txt")).success().counts("9 of 9 URLs: 0 detected (0 faces), 9 failed");
    let ended = ended.says(&["fetch.user_agent names nobody"]);
    assert!(ended.took.as_secs() < 20, "{:?}", ended.took);
    let rows = place.rows("");
    assert_eq!(rows.len(), 9);
    for row in &rows {
        let (_, reason, _, attempts) = outcome(row);
        assert!(reason.starts_with("blocked_") && attempts == 1, "{row}");
    }
    for (url, reason) in &urls[..5] {
        let row = rows.iter().find(|row| row["url"] == **url).unwrap_or_else(|| panic!("{url}"));
        assert_eq!(row["reason"], **reason, "{url}");
    }
    assert_eq!(server.total_hits(), 0);
}
