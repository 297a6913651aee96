//! compose.yaml is never run by the project: at least its form is right, and it is what docs/stack.md says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test

use std::{fs, path::Path, process::Command};

use serde_json::{Map, Value};

fn text() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("compose.yaml")).unwrap()
}

fn compose() -> Value {
    serde_saphyr::from_str(&text()).unwrap()
}

fn services(compose: &Value) -> &Map<String, Value> {
    compose["services"].as_object().unwrap()
}

/// The strings of a list; none where there is none.
fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn every_image_is_pinned_to_a_version() {
    for (name, service) in services(&compose()) {
        let (_, tag) = service["image"].as_str().unwrap().rsplit_once(':').unwrap_or_default();
        assert!(tag.starts_with(|first: char| first.is_ascii_digit()) && tag.contains('.'), "{name}: '{tag}'");
    }
}

#[test]
fn what_services_name_is_there() {
    let compose = compose();
    let services = services(&compose);
    for (name, service) in services {
        // A list of names, or conditions by name.
        let conditions = service["depends_on"].as_object().into_iter().flat_map(Map::keys).map(String::as_str);
        for other in conditions.chain(strings(&service["depends_on"])) {
            assert!(services.contains_key(other), "{name} depends on {other}");
        }
        for volume in strings(&service["volumes"]) {
            let (volume, _) = volume.split_once(':').unwrap();
            assert!(compose["volumes"].get(volume).is_some(), "{name} has a volume {volume}");
        }
        // `docker compose up --wait` waits for it.
        assert!(service["healthcheck"]["test"].is_string(), "{name}");
    }
}

#[test]
fn the_documented_ports_are_open_on_loopback_alone() {
    let compose = compose();
    let ports = ["kafka", "scylla"].map(|name| strings(&services(&compose)[name]["ports"]));
    assert_eq!(ports, [vec!["127.0.0.1:9092:9092"], vec!["127.0.0.1:9042:9042", "127.0.0.1:19042:19042"]]);
    let stack = include_str!("../docs/stack.md");
    assert!(stack.contains("Kafka and ScyllaDB on ports 9092 and 9042"));
}

#[test]
fn the_commands_of_its_header_make_what_check_looks_for_before_it() {
    let text = text();
    let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#   facemill ")).collect();
    let subcommands: Vec<String> = commands.iter().map(|words| words.split(" --").next().unwrap().to_owned()).collect();
    assert_eq!(subcommands, ["schema apply", "topics apply", "check"]);
    for command in commands {
        let help =
            Command::new(env!("CARGO_BIN_EXE_facemill")).args(command.split(' ')).arg("--help").output().unwrap();
        assert!(help.status.success(), "{command}: {}", String::from_utf8_lossy(&help.stderr));
    }
}
