use std::fs;

use integration_tests::{Options, WebServer};

use crate::{
    cluster::{ALL, Cluster},
    damaged::{with_wrong_selector, without_tables, write_all},
    pictures::write_small,
    program::Place,
};

#[test]
#[ignore = "needs the stack: make it"]
fn twenty_jpegs_with_a_wrong_selector_and_twenty_without_tables_spoil_none_of_two_hundred_good_ones() {
    let photos = Place::new();
    write_small(&photos.path(""), 8, 75);
    let jpeg = fs::read(photos.path("0.jpg")).unwrap();
    write_all(&photos.path(""), "damaged", [with_wrong_selector(&jpeg), without_tables(&jpeg)]);
    let server = WebServer::start(Options::new(photos.path(""))).unwrap();
    // Every twelfth one has a wrong selector, and every twelfth one no tables, in every partition.
    let path = |n: usize| match n % 12 {
        0 => format!("/photos/damaged-0.jpg?{n}"),
        6 => format!("/photos/damaged-1.jpg?{n}"),
        _ => format!("/photos/{}.jpg?{n}", n % 4),
    };
    let urls: Vec<String> = (0..240).map(|n| server.url(&path(n))).collect();
    let cluster = Cluster::new("damaged");
    // One decoder and one session see all of them.
    let process = cluster.run(ALL, "--set preprocess.threads=1 --set detect.threads=1");
    cluster.produce("urls", &urls);
    let rows = cluster.until_rows(urls.len());
    assert!(process.get("/metrics").1.contains("facemill_decoders_replaced_total{"));
    assert_eq!(process.metric("facemill_decoders_replaced_total"), 0);
    process.stop();
    for (url, row) in &rows {
        let expected = if url.contains("damaged") { ("failed", Some("corrupt_image")) } else { ("detected", None) };
        assert_eq!((row["status"].as_str().unwrap(), row["reason"].as_str()), expected, "{row}");
    }
    assert_eq!(rows.values().filter(|row| row["status"] == "detected").count(), 200);
}
