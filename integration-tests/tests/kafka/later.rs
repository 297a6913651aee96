use std::time::{Duration, UNIX_EPOCH};

use crate::{
    cluster::{ALL, Cluster, Setup},
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
    let rows = cluster.until_rows(3);
    let row = |path: &str| &rows[&site.server.url(path)];
    assert_eq!((&row(flaky)["status"], &row(flaky)["attempts"]), (&"detected".into(), &2.into()));
    assert_eq!((&row(broken)["reason"], &row(broken)["attempts"]), (&"http_server_error".into(), &3.into()));
    process.stop();
    assert_eq!((site.server.hits(flaky), site.server.hits(broken)), (2, 3));

    let asked = site.server.times(broken);
    for (index, topic, wait) in [(0, "urls.retry.3s", 3), (1, "urls.retry.1s", 1)] {
        let entries = cluster.entries(topic);
        let of_broken = entries.iter().find(|entry| entry.value == site.server.url(broken).as_bytes()).unwrap();
        let header = |name: &str| of_broken.headers[name].as_str();
        assert_eq!(header("reason"), "http_server_error");
        assert_eq!(
            (header("attempts"), header("waits")),
            ((index + 2).to_string().as_str(), (index + 1).to_string().as_str())
        );
        let not_before = UNIX_EPOCH + Duration::from_micros(header("not-before").parse().unwrap());
        assert!(not_before >= asked[index] + Duration::from_secs(wait), "{topic} waits less than its name says");
        assert!(asked[index + 1] >= not_before, "asked for {:?}, before {not_before:?}", asked[index + 1]);
        assert_eq!(entries.len(), 2 - index, "{topic}");
    }
}
