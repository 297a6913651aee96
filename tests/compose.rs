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
        let (image, tag) = service["image"].as_str().unwrap().rsplit_once(':').unwrap_or_default();
        assert!(tag.starts_with(|first: char| first.is_ascii_digit()) && tag.contains('.'), "{name}: '{tag}'");
        // The one that `make image` builds.
        assert!(image != "facemill" || tag == env!("CARGO_PKG_VERSION"), "{name}: '{tag}'");
    }
}

#[test]
fn what_services_name_is_there() {
    let compose = compose();
    let services = services(&compose);
    for (name, service) in services {
        for (other, waits_for) in service["depends_on"].as_object().into_iter().flatten() {
            let other = services.get(other).unwrap_or_else(|| panic!("{name} depends on {other}"));
            match waits_for["condition"].as_str().unwrap() {
                "service_healthy" => assert!(other["healthcheck"]["test"].is_string(), "{name}"),
                // One that is started again and again completes never.
                "service_completed_successfully" => assert!(other["restart"].is_null(), "{name}"),
                condition => panic!("{name}: {condition}"),
            }
        }
        for volume in strings(&service["volumes"]) {
            let (volume, _) = volume.split_once(':').unwrap();
            assert!(compose["volumes"].get(volume).is_some(), "{name} has a volume {volume}");
        }
    }
}

#[test]
fn the_documented_ports_are_open_on_loopback_alone() {
    let compose = compose();
    let services = services(&compose);
    for (name, service) in services {
        assert!(strings(&service["ports"]).iter().all(|port| port.starts_with("127.0.0.1:")), "{name}");
    }
    let ports = ["kafka", "scylla", "monitor"].map(|name| strings(&services[name]["ports"]));
    assert_eq!(
        ports,
        [
            vec!["127.0.0.1:9092:9092"],
            vec!["127.0.0.1:9042:9042", "127.0.0.1:19042:19042"],
            vec!["127.0.0.1:9464:9464"]
        ]
    );
    let stack = include_str!("../docs/stack.md");
    assert!(stack.contains("Kafka and ScyllaDB on ports 9092 and 9042"));
}

#[test]
fn its_commands_are_commands_of_facemill() {
    let compose = compose();
    let of_services =
        services(&compose).values().filter(|service| service["image"].as_str().unwrap().starts_with("facemill:"));
    let mut commands: Vec<Vec<String>> = of_services
        .map(|service| strings(&service["command"]).into_iter().map(str::to_owned).collect())
        .filter(|command: &Vec<String>| !command.is_empty())
        .collect();
    // Those of its header too: #   docker compose run --rm cli COMMAND
    let text = text();
    let typed = text.lines().filter_map(|line| line.strip_prefix("#   docker compose run --rm cli "));
    commands.extend(typed.map(|words| words.split(' ').map(str::to_owned).collect()));
    assert!(commands.len() >= 8, "{commands:?}");
    for command in commands {
        let help = Command::new(env!("CARGO_BIN_EXE_facemill")).args(&command).arg("--help").output().unwrap();
        assert!(help.status.success(), "{command:?}: {}", String::from_utf8_lossy(&help.stderr));
    }
}
