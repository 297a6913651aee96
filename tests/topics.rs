//! `topics/`, `schemas/asyncapi.yaml`, and the names and headers that the code uses agree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use facemill::{
    app::Topics,
    config::{self, Settings},
    domain::{
        DeadLetter, DeadLetterClass, Facts, Fetched, FrameFormat, Headers, Message, Model, Picture, Pipeline, Reason,
        Record, ResultRow, StageName, Timestamp,
    },
    topics::{Party, Topic, embedded, with_delays},
};
use serde_json::{Value, json};

const STAGES: [StageName; 3] = [StageName::Fetch, StageName::Preprocess, StageName::Detect];

fn asyncapi() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/asyncapi.yaml");
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn settings() -> Settings {
    config::load(None, std::iter::empty(), &[]).unwrap().settings
}

fn full_name(topic: &Topic) -> String {
    format!("{}{}", settings().kafka.topic_prefix, topic.name)
}

fn party(stage: StageName) -> Party {
    match stage {
        StageName::Fetch => Party::Fetch,
        StageName::Preprocess => Party::Preprocess,
        StageName::Detect => Party::Detect,
    }
}

/// The channels by address: (name, channel).
fn channels(document: &Value) -> BTreeMap<String, (String, Value)> {
    let channels = document["channels"].as_object().unwrap().iter();
    channels
        .map(|(id, channel)| (channel["address"].as_str().unwrap().to_owned(), (id.clone(), channel.clone())))
        .collect()
}

/// A value of a binding as Kafka writes it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[test]
fn the_code_uses_the_declared_topics_and_no_other() {
    let settings = settings();
    let topics = Topics(&settings);
    let mut used: BTreeSet<_> = STAGES.iter().map(|stage| topics.input(*stage)).collect();
    used.extend(topics.later().into_iter().map(|(name, _)| name));
    used.extend([topics.results().unwrap(), topics.dead_letters()]);
    assert_eq!(used, embedded().unwrap().iter().map(full_name).collect());
}

#[test]
fn every_delay_that_is_configured_has_a_topic() {
    let settings =
        config::load(None, std::iter::empty(), &["retry.later=[\"5m\", \"1h30m\"]".to_owned()]).unwrap().settings;
    let declared: Vec<_> = with_delays(embedded().unwrap(), &settings.retry.later).iter().map(full_name).collect();
    assert!(Topics(&settings).later().iter().all(|(name, _)| declared.contains(name)), "{declared:?}");
}

#[test]
fn every_stage_reads_what_is_declared_for_it() {
    let settings = settings();
    let names = Topics(&settings);
    for topic in embedded().unwrap() {
        let mut consumers: Vec<_> = STAGES
            .iter()
            .filter(|stage| names.input(**stage) == full_name(&topic))
            .map(|stage| party(*stage))
            .collect();
        if names.later().iter().any(|(name, _)| *name == full_name(&topic)) {
            consumers.push(Party::Fetch);
        }
        if consumers.is_empty() {
            consumers.push(Party::Anyone);
        }
        assert_eq!(topic.consumers, consumers, "{}", topic.name);
    }
}

#[test]
fn every_stage_writes_what_is_declared_for_it() {
    let settings = settings();
    let names = Topics(&settings);
    for topic in embedded().unwrap() {
        let writes = |stage: &&StageName| names.outputs(**stage).contains(&full_name(&topic));
        let mut producers: Vec<_> = STAGES.iter().filter(writes).map(|stage| party(*stage)).collect();
        if producers.is_empty() {
            producers.push(Party::Anyone);
        }
        assert_eq!(topic.producers, producers, "{}", topic.name);
    }
}

#[test]
fn channels_are_the_topics_with_their_figures() {
    let document = asyncapi();
    let mut channels = channels(&document);
    for topic in embedded().unwrap() {
        let (_, channel) =
            channels.remove(&full_name(&topic)).unwrap_or_else(|| panic!("no channel of {}", topic.name));
        let kafka = &channel["bindings"]["kafka"];
        assert_eq!((&kafka["partitions"], &kafka["replicas"]), (&json!(topic.partitions), &json!(topic.replicas)));
        let config = kafka["topicConfiguration"].as_object().unwrap().iter();
        let config: BTreeMap<_, _> = config.map(|(name, value)| (name.clone(), text(value))).collect();
        assert_eq!(config, topic.config, "{}", topic.name);
    }
    assert!(channels.is_empty(), "not declared in topics/: {channels:?}");
}

#[test]
fn operations_are_what_each_stage_writes_and_reads() {
    let document = asyncapi();
    let channels = channels(&document);
    let mut expected = BTreeMap::new();
    for topic in embedded().unwrap() {
        let (id, _) = &channels[&full_name(&topic)];
        let capital = format!("{}{}", id[..1].to_uppercase(), &id[1..]);
        for stage in STAGES {
            let mut operation = |action: &str, verb: &str| {
                let reference = format!("#/channels/{id}");
                let operation = json!({"action": action, "channel": {"$ref": reference}});
                expected.insert(format!("{stage}{verb}{capital}"), operation);
            };
            if topic.producers.contains(&party(stage)) {
                operation("send", "Sends");
            }
            if topic.consumers.contains(&party(stage)) {
                operation("receive", "Receives");
            }
        }
    }
    let operations = document["operations"].as_object().unwrap().iter();
    assert_eq!(operations.map(|(name, value)| (name.clone(), value.clone())).collect::<BTreeMap<_, _>>(), expected);
}

const TRACEPARENT: &str = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01";

/// What has been found out when a message leaves fetch, or preprocess; all of it, or as little as may be.
fn message(picture: bool, all: bool) -> Message {
    let mut facts = Facts::submitted("https://a.example/x.jpg", "june", Timestamp::from_micros(7));
    facts.fetched = Some(Fetched {
        at: Timestamp::from_micros(8),
        http_status: 200,
        content_type: all.then(|| "image/jpeg".to_owned()),
        sha256: "0a".repeat(32),
    });
    facts.picture = picture.then_some(Picture {
        width: 640,
        height: 480,
        orientation: 8,
        truncated: true,
        frame_width: 640,
        frame_height: 480,
        frame_format: FrameFormat::Jpeg,
    });
    if all {
        facts.traceparent = Some(TRACEPARENT.to_owned());
        facts.redo = Some(Reason::NotAnImage);
        facts.outranks = Some(1_000_002);
        facts.timings.set(StageName::Fetch, Duration::from_micros(9));
        if picture {
            facts.timings.set(StageName::Preprocess, Duration::from_micros(9));
        }
    }
    Message { facts, body: vec![0; 3].into() }
}

fn dead_letter(class: DeadLetterClass, stage: StageName, limit: usize) -> Record {
    let original = Record { key: None, headers: Headers::default(), value: vec![0xff; 3].into() };
    let letter = DeadLetter { topic: "facemill.urls", partition: 3, offset: 42, stage, class, message: "why" };
    letter.record(&original, limit).traced((limit == 1).then(|| TRACEPARENT.to_owned()))
}

/// Records as the code writes them, by message: one with all headers that there are, and with as few as may be.
fn records() -> Vec<(&'static str, Record, Record)> {
    let waiting = |all| message(false, all).facts.resubmission(2, Timestamp::from_micros(99), Reason::DnsFailed);
    let (invalid, internal) = (DeadLetterClass::InvalidRecord, DeadLetterClass::InternalError);
    vec![
        ("waitingUrl", waiting(true), waiting(false)),
        ("image", message(false, true).encode(), message(false, false).encode()),
        ("frame", message(true, true).encode(), message(true, false).encode()),
        ("result", result(true), result(false)),
        ("deadLetter", dead_letter(invalid, StageName::Fetch, 1), dead_letter(internal, StageName::Detect, 9)),
    ]
}

fn result(all: bool) -> Record {
    let model = Model { name: "m".into(), sha256: "0".repeat(64) };
    let pipeline = Pipeline { version: "0".into(), fingerprint: "f".into(), epoch: Timestamp::from_micros(0) };
    let row = ResultRow::detected(message(true, all).facts, vec![], &model, &pipeline);
    row.event().unwrap().traced(all.then(|| TRACEPARENT.to_owned()))
}

/// All properties and all required ones of a schema of headers.
fn described(document: &Value, schema: &Value) -> (BTreeSet<String>, BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return described(document, document.pointer(reference.strip_prefix('#').unwrap()).unwrap());
    }
    let (mut names, mut required) = (BTreeSet::new(), BTreeSet::new());
    names.extend(schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
    required.extend(schema["required"].as_array().into_iter().flatten().map(text));
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let (more, more_required) = described(document, part);
        names.extend(more);
        required.extend(more_required);
    }
    (names, required)
}

fn names(record: &Record) -> BTreeSet<String> {
    record.headers.iter().map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn headers_are_described_as_the_code_writes_them() {
    let document = asyncapi();
    for (id, full, small) in records() {
        let headers = &document["components"]["messages"][id]["headers"];
        assert_eq!(described(&document, headers), (names(&full), names(&small)), "{id}");
        let schema = json!({"allOf": [headers], "components": document["components"]});
        let validator = jsonschema::validator_for(&schema).unwrap();
        for record in [full, small] {
            let values =
                record.headers.iter().map(|(name, value)| (name.to_owned(), str::from_utf8(value).unwrap().into()));
            let values = Value::Object(values.collect());
            let errors: Vec<_> = validator.iter_errors(&values).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{id}: {errors:?}");
        }
    }
}

#[test]
fn headers_that_a_submitter_may_send_are_read() {
    let document = asyncapi();
    let (described, required) = described(&document, &document["components"]["schemas"]["submissionHeaders"]);
    let mut record = Message::submission("https://a.example/", "june", Timestamp::from_micros(7));
    record.headers.push("traceparent", "00-1-2-3");
    let record = record.again(Reason::DnsFailed);
    assert_eq!((described, required), (names(&record), BTreeSet::new()));
    let facts = Message::from_submission(&record, "other", Timestamp::from_micros(9)).unwrap().facts;
    assert_eq!(
        (facts.job.as_str(), facts.submitted_at, facts.traceparent.as_deref()),
        ("june", Timestamp::from_micros(7), Some("00-1-2-3"))
    );
}

/// Every header that is named in the source, whoever may use it.
#[test]
fn no_header_of_the_code_is_left_out() {
    let sources = [
        include_str!("../src/domain/message.rs"),
        include_str!("../src/domain/dead_letter.rs"),
        include_str!("../src/domain/result.rs"),
    ];
    let constants = sources
        .iter()
        .flat_map(|source| source.lines())
        .filter(|line| line.contains("const") && line.contains(": &str = \""));
    let in_code: BTreeSet<_> = constants.map(|line| line.split('"').nth(1).unwrap().to_owned()).collect();
    assert!(in_code.len() > 20, "{in_code:?}");
    let document = asyncapi();
    let messages = document["components"]["messages"].as_object().unwrap().values();
    let described: BTreeSet<_> = messages.flat_map(|message| described(&document, &message["headers"]).0).collect();
    assert_eq!(in_code, described);
}
