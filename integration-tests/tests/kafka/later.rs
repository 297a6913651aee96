use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::{
    cluster::{ALL, Cluster, Setup, until},
    site::Site,
};

#[test]
#[ignore = "needs the stack: make it"]
fn a_failure_that_may_pass_is_tried_again_after_each_wait_and_not_before() {
    let cluster = Cluster::with("later", &Setup { later: &["3s", "1s"], ..Setup::default() });
    let site = Site::new(Duration::ZERO);
    let process = cluster.run(ALL, "");
    let (flaky, broken) = ("/flaky.jpg?1", "/status/503.jpg");
    cluster.produce("urls", [flaky, broken, "/pixel.png?1"].map(|path| site.server.url(path)));
    let mut seen = Vec::new();
    for hits in 1..=3 {
        until("it is asked for again", || site.server.hits(broken) == hits);
        seen.push((Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap()));
    }
    assert!(seen[1].0 - seen[0].0 >= Duration::from_millis(2900), "{:?}", seen[1].0 - seen[0].0);
    assert!(seen[2].0 - seen[1].0 >= Duration::from_millis(900), "{:?}", seen[2].0 - seen[1].0);

    let rows = cluster.until_rows(3);
    let row = |path: &str| &rows[&site.server.url(path)];
    assert_eq!((&row(flaky)["status"], &row(flaky)["attempts"]), (&"detected".into(), &2.into()));
    assert_eq!((&row(broken)["reason"], &row(broken)["attempts"]), (&"http_server_error".into(), &3.into()));
    process.stop();
    assert_eq!((site.server.hits(flaky), site.server.hits(broken)), (2, 3));

    for (index, topic) in ["urls.retry.3s", "urls.retry.1s"].into_iter().enumerate() {
        let entries = cluster.entries(topic);
        let of_broken = entries.iter().find(|entry| entry.value == site.server.url(broken).as_bytes()).unwrap();
        let header = |name: &str| of_broken.headers[name].as_str();
        assert_eq!(header("reason"), "http_server_error");
        assert_eq!(
            (header("attempts"), header("waits")),
            ((index + 2).to_string().as_str(), (index + 1).to_string().as_str())
        );
        let not_before = Duration::from_micros(header("not-before").parse().unwrap());
        assert!(seen[index + 1].1 >= not_before, "asked for before {not_before:?}");
        assert_eq!(entries.len(), 2 - index, "{topic}");
    }
}
