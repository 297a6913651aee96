use crate::cluster::Cluster;

const SOON: &str = "run --stage fetch,preprocess,detect --set kafka.start_timeout=2s --set http.listen=127.0.0.1:0";

#[test]
#[ignore = "needs the stack: make it"]
fn what_is_missing_at_the_start_is_named_with_what_to_do() {
    let cluster = Cluster::new("start");
    let refuses = |words: &str, parts: &[&str]| {
        let ended = cluster.facemill(&format!("{SOON} {words}")).with_code(1).says(parts);
        assert!(ended.took.as_secs() < 30, "{words}: {:?}", ended.took);
    };
    refuses("--set kafka.brokers=127.0.0.1:1", &["no Kafka broker of '127.0.0.1:1' answers", "check kafka.brokers"]);
    refuses(
        "--set kafka.topic_prefix=nobodys.",
        &["the topic 'nobodys.", "is not there", "facemill topics apply --yes"],
    );
    let results = format!("--alter --topic {}results --add-config max.message.bytes=", cluster.prefix);
    cluster.kafka("configs", &format!("{results}65536"), b"");
    let narrow = &["results' takes at most 65536 bytes", "max.message.bytes", "facemill topics diff"];
    refuses("", narrow);
    let check = cluster.facemill("check").with_code(1).stdout;
    assert!(narrow.iter().all(|part| check.contains(part)), "{check}");
    cluster.kafka("configs", &format!("{results}4194304"), b"");
    refuses(
        "-X message.max.bytes=2000000",
        &["message.max.bytes in kafka.config (or -X)", "none of more than 2000000"],
    );
    refuses("--set cql.keyspace=nobodys", &["there is no keyspace 'nobodys'", "facemill schema apply --yes"]);
    refuses("--set cql.datacenter=moon", &["no node is in a data centre 'moon'", "datacenter1"]);
    refuses(
        "--set cql.contact_points=[\"127.0.0.1:1\"]",
        &["no CQL node answers at 127.0.0.1:1", "cql.contact_points"],
    );
}
