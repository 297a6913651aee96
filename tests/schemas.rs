//! The schemas, their examples and the rows that the code makes agree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use facemill::domain::{
    Face, Facts, Failure, Fetched, FrameFormat, Headers, ImageId, MAX_JOB_BYTES, MAX_URL_RECORD_BYTES, Message, Model,
    Picture, Pipeline, Point, Reason, Record, RecordError, ResultRow, StageName, Timestamp,
};
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::Value;

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn schema(record: &str) -> Value {
    read(&schemas().join(format!("{record}.schema.json")))
}

fn result_schema() -> Value {
    schema("result")
}

fn validator_of(record: &str) -> Validator {
    jsonschema::options().should_validate_formats(true).build(&schema(record)).unwrap()
}

fn validator() -> Validator {
    validator_of("result")
}

fn examples(kind: &str) -> Vec<(String, Value)> {
    examples_of("result", kind)
}

fn examples_of(record: &str, kind: &str) -> Vec<(String, Value)> {
    let folder = schemas().join("examples").join(record).join(kind);
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|path| (path.display().to_string(), read(&path))).collect()
}

#[test]
fn the_schema_is_valid_and_closed_at_every_level() {
    let schema = result_schema();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    fn objects(value: &Value, found: &mut Vec<Value>) {
        if value["type"] == "object" {
            found.push(value.clone());
        }
        match value {
            Value::Object(members) => members.values().for_each(|member| objects(member, found)),
            Value::Array(items) => items.iter().for_each(|item| objects(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    objects(&schema, &mut found);
    assert_eq!(found.len(), 7);
    assert!(found.iter().all(|object| object["additionalProperties"] == false));
}

#[test]
fn valid_examples_pass_and_are_rows_to_the_code() {
    let validator = validator();
    let examples = examples("valid");
    assert!(examples.len() >= 3);
    for (path, example) in examples {
        let errors: Vec<_> = validator.iter_errors(&example).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{path}: {errors:?}");
        let row: ResultRow = serde_json::from_value(example).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(row.image_id, ImageId::of(&row.url), "{path}");
        assert_eq!(serde_json::from_str::<ResultRow>(&serde_json::to_string(&row).unwrap()).unwrap(), row, "{path}");
    }
}

#[test]
fn invalid_examples_do_not_pass() {
    let validator = validator();
    let examples = examples("invalid");
    assert!(examples.len() >= 8);
    for (path, example) in examples {
        assert!(!validator.is_valid(&example), "{path} must not pass");
    }
}

#[test]
fn the_reasons_are_those_of_the_code() {
    let names: Vec<Value> = Reason::ALL.iter().map(|reason| reason.as_str().into()).collect();
    assert_eq!(result_schema()["properties"]["reason"]["enum"], Value::Array(names));
}

fn facts() -> Facts {
    let mut facts = Facts::submitted("http://a.example/x.jpg", "job", Timestamp::now());
    facts.attempts = 1;
    facts.timings.set(StageName::Fetch, std::time::Duration::from_millis(12));
    facts
}

fn facts_of_a_picture() -> Facts {
    let mut facts = facts();
    facts.fetched = Some(Fetched {
        at: Timestamp::now(),
        http_status: 200,
        content_type: Some("image/jpeg".into()),
        sha256: "0a".repeat(32),
    });
    facts.picture = Some(Picture {
        width: 640,
        height: 480,
        orientation: 8,
        truncated: true,
        frame_width: 640,
        frame_height: 480,
        frame_format: FrameFormat::Jpeg,
    });
    facts.timings.set(StageName::Preprocess, std::time::Duration::from_micros(7));
    facts.timings.set(StageName::Detect, std::time::Duration::ZERO);
    facts
}

/// A row of each kind that the code makes.
fn rows() -> Vec<ResultRow> {
    let model = Model { name: "yunet".into(), sha256: "0".repeat(64) };
    let pipeline = Pipeline { version: "0.1.0".into(), fingerprint: "f00d".into(), epoch: Timestamp::default() };
    let point = Point { x: -0.1, y: 17.0 };
    let face = Face { x: -1.5, y: 0.1, width: 30.0, height: 40.0, score: 1.0, landmarks: [point; 5] };
    let mut rows = vec![
        ResultRow::detected(facts_of_a_picture(), vec![face.clone(), face], &model, &pipeline),
        ResultRow::detected(facts_of_a_picture(), vec![], &model, &pipeline),
    ];
    for reason in Reason::ALL {
        rows.push(ResultRow::failed(facts(), Failure::new(*reason, "why"), &model, &pipeline));
        let failure = Failure::new(*reason, "why").with_status(503);
        rows.push(ResultRow::failed(facts_of_a_picture(), failure, &model, &pipeline));
    }
    rows
}

#[test]
fn rows_that_the_code_makes_pass() {
    let validator = validator();
    for row in rows() {
        let json = serde_json::to_value(&row).unwrap();
        let errors: Vec<_> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{json}: {errors:?}");
    }
}

#[test]
fn the_schema_names_no_field_that_the_code_does_not_write() {
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let (schema, rows) = (result_schema(), rows());
    let written: BTreeSet<_> = rows.iter().flat_map(|row| names(&serde_json::to_value(row).unwrap())).collect();
    assert_eq!(names(&schema["properties"]), written);
    let row = serde_json::to_value(&rows[0]).unwrap();
    for part in ["model", "pipeline", "timings", "timestamps"] {
        assert_eq!(names(&schema["properties"][part]["properties"]), names(&row[part]), "{part}");
    }
    assert_eq!(names(&schema["$defs"]["face"]["properties"]), names(&row["faces"][0]));
}

/// What the code makes of a submitted value.
fn submitted(value: &[u8]) -> Result<Facts, RecordError> {
    let record = Record { key: None, headers: Headers::default(), value: Bytes::copy_from_slice(value) };
    Message::from_submission(&record, "by default", Timestamp::default()).map(|message| message.facts)
}

#[test]
fn the_schema_of_urls_is_valid_and_names_the_size_that_the_code_allows() {
    let schema = schema("url");
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    assert_eq!(MAX_URL_RECORD_BYTES, 65_536);
    assert!(schema["description"].as_str().unwrap().contains("65,536 bytes"));
    assert_eq!(schema["properties"]["job"]["maxLength"], MAX_JOB_BYTES);
}

#[test]
fn examples_of_urls_pass_exactly_where_the_code_takes_them() {
    let validator = validator_of("url");
    let (valid, invalid) = (examples_of("url", "valid"), examples_of("url", "invalid"));
    assert!(valid.len() >= 3 && invalid.len() >= 5);
    for (path, example) in valid {
        assert!(validator.is_valid(&example), "{path} must pass");
        let facts = submitted(example.to_string().as_bytes()).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(facts.url, example["url"].as_str().unwrap(), "{path}");
        assert_eq!(facts.job, example["job"].as_str().unwrap_or("by default"), "{path}");
    }
    for (path, example) in invalid {
        assert!(!validator.is_valid(&example), "{path} must not pass");
        let taken = submitted(example.to_string().as_bytes());
        assert!(matches!(taken, Err(RecordError::Json(_) | RecordError::LongJob(_))), "{path}: {taken:?}");
    }
}

/// An object with perhaps the members of a submission, of perhaps the right types.
fn any_submission() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,9}".prop_map(Value::from),
        Just(serde_json::json!(["a"])),
        Just(serde_json::json!({"url": "a"})),
    ];
    let member = (prop_oneof![Just("url"), Just("job"), Just("other"), Just("Url")], value);
    proptest::collection::vec(member, 0..4)
        .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

proptest! {
    #[test]
    fn the_schema_of_urls_takes_what_the_code_takes(submission in any_submission()) {
        let taken = submitted(submission.to_string().as_bytes());
        prop_assert_eq!(validator_of("url").is_valid(&submission), taken.is_ok());
    }
}
