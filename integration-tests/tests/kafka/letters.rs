use std::{collections::BTreeMap, time::Duration};

use crate::{
    cluster::{ALL, Cluster, until},
    site::Site,
};

#[test]
#[ignore = "needs the stack: make it"]
fn poison_goes_to_the_dead_letters_with_its_bytes_and_its_place_and_can_be_mended_and_sent_back() {
    let (cluster, site) = (Cluster::new("letters"), Site::new(Duration::ZERO));
    let url = |name: &str| site.server.url(&format!("/pixel.png?{name}"));
    let long = [b"http://a.example/".to_vec(), vec![b'x'; 2_000_000]].concat();
    let poison = [b"http://a.example/\xff\xfe.jpg".to_vec(), long, br#"{"url": 7, "job": "default"}"#.to_vec()];
    // Each in a partition of its own, with a good one before and one behind.
    let around = |when| (0..6).map(move |n| format!("{when}{n}")).map(|name| url(&name).into_bytes());
    let all: Vec<Vec<u8>> =
        around("before").chain(poison.clone()).chain(around("after").skip(3)).chain(around("after")).collect();
    let process = cluster.run(ALL, "");
    cluster.produce("urls", &all);
    cluster.until_rows(12);
    until("each is set aside", || process.metric("facemill_dead_letters_total") == 3);
    // Everything behind them is committed.
    until("nothing lags", || cluster.lags(&["fetch"]).values().all(|lag| *lag == 0));

    let letters = cluster.entries("dlq");
    assert_eq!(letters.len(), 3);
    for (index, bytes) in poison.iter().enumerate() {
        let letter = letters.iter().find(|letter| letter.value == *bytes).expect("with all its bytes");
        let header = |name: &str| letter.headers[&format!("__dlq.{name}")].as_str();
        assert_eq!(header("errors.topic"), cluster.topic("urls"));
        assert_eq!(header("errors.partition"), index.to_string());
        assert_eq!(header("errors.offset"), "1");
        assert_eq!((header("stage"), header("class")), ("fetch", "invalid_record"));
        let said = ["not UTF-8", "2000017 bytes", "'url'"];
        assert!(header("errors.message").contains(said[index]), "{letter:?}", letter = header("errors.message"));
    }
    assert_eq!(cluster.entries("urls").len(), all.len(), "facemill itself submits nothing");

    let words = format!("--topic {} --from-beginning --max-messages 3 --timeout-ms 30000", cluster.topic("dlq"));
    let printed = cluster.kafka("console-consumer", &words, b"");
    let line = printed.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"{")).unwrap();
    let mended = String::from_utf8(line.to_vec()).unwrap().replace('7', &format!("\"{}\"", url("mended")));
    cluster.kafka("console-producer", &format!("--topic {}", cluster.topic("urls")), mended.as_bytes());
    let rows: BTreeMap<_, _> = cluster.until_rows(13);
    assert_eq!(rows[&url("mended")]["status"], "detected");
    process.stop();
}
