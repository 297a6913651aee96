use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use flate2::{Compression, write::GzEncoder};
use integration_tests::{WebServer, demo_list};
use serde_json::Value;

use crate::{
    pictures::demo_server,
    program::{Place, finish, rows, start, text},
};

/// Twenty distinct URLs, a quarter of them not there.
fn list(server: &WebServer) -> String {
    let path = |n| if n % 4 == 0 { format!("/missing.jpg?{n}\n") } else { format!("/pixel.png?{n}\n") };
    (0..20).map(|n| server.url(&path(n))).collect()
}

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(|row| row["image_id"].to_string());
    rows
}

#[test]
fn json_lines_are_the_rows_of_the_export() {
    let (place, server) = (Place::new(), demo_server());
    place.write("urls.txt", list(&server) + &server.url("/photos/newton.png"));
    let printed = rows(&finish(place.local("urls.txt --output jsonl")).success().stdout);
    assert_eq!(printed.len(), 21);
    assert_eq!(sorted(printed), place.rows(""));
}

#[test]
fn output_none_prints_nothing_and_table_a_line_for_each_url() {
    let (place, server) = (Place::new(), demo_server());
    place.write("urls.txt", list(&server));
    assert_eq!(finish(place.local("urls.txt --output none --db none.db")).success().stdout, "");
    let table = finish(place.local("urls.txt --db table.db")).success().stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 21 && lines[0].starts_with("STATUS"), "{table}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("failed ")).count(), 5);
    assert!(lines[1..].iter().all(|line| line.contains(&server.base())));
}

#[test]
fn a_reader_that_goes_away_does_not_stop_the_run() {
    let (place, server) = (Place::new(), demo_server());
    // More than a pipe holds.
    place.write("urls.txt", (0..1_500).map(|n| server.url(&format!("/missing.jpg?{n}\n"))).collect::<String>());
    let mut child = place.local("urls.txt --output jsonl").spawn().unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::with_capacity(16, child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    assert_eq!(rows(&first).len(), 1);
    drop(stdout);
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && stderr.contains("1,500 of 1,500 URLs"), "{stderr}");
    assert_eq!(place.rows("").len(), 1_500);
}

#[test]
fn an_export_into_a_closed_pipe_ends_quietly() {
    let (place, server) = (Place::new(), demo_server());
    place.write("urls.txt", (0..1_500).map(|n| server.url(&format!("/missing.jpg?{n}\n"))).collect::<String>());
    finish(place.local("urls.txt --output none")).success();
    let ended = finish(place.shell("\"$0\" export | head -n 1")).success();
    assert_eq!((rows(&ended.stdout).len(), ended.stderr.as_str()), (1, ""));
}

#[test]
fn lists_may_be_compressed_and_come_from_a_pipe_and_urls_stand_on_the_command_line() {
    let (place, server) = (Place::new(), demo_server());
    let list = list(&server);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(format!("# a comment\n\n{list}").as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    place.write("list.gz", &gzip);
    place.write("list.zst", zstd::encode_all(list.as_bytes(), 3).unwrap());
    place.write("list", &list);
    finish(place.local("list.gz --db gz.db")).success().counts("20 of 20 URLs: 15 detected (0 faces), 5 failed");
    finish(place.local("list.zst --db zst.db")).success().counts("20 of 20 URLs: 15 detected (0 faces), 5 failed");
    let of_stdin = |db: &str, list: &[u8]| {
        let mut command = place.local(&format!("- --db {db}"));
        let (pipe, mut write) = std::io::pipe().unwrap();
        command.stdin(Stdio::from(pipe));
        let run = start(command);
        write.write_all(list).unwrap();
        drop(write);
        run.end().success().counts("20 URLs: 15 detected (0 faces), 5 failed");
    };
    of_stdin("pipe.db", list.as_bytes());
    of_stdin("gzpipe.db", &gzip);
    let words = format!("list {} {} --db words.db", server.url("/pixel.png?x"), server.url("/missing.jpg?x"));
    finish(place.local(&words)).success().counts("22 of 22 URLs: 16 detected (0 faces), 6 failed");
}

#[test]
fn annotate_writes_one_picture_for_each_with_faces() {
    let (place, server) = (Place::new(), demo_server());
    place.write("urls.txt", demo_list(&server.base()));
    let words = "urls.txt --output none --set fetch.read_timeout=300ms --set retry.attempts=1";
    finish(place.local(&format!("{words} --annotate out/drawn"))).success();
    let with_faces = place.rows("").into_iter().filter(|row| row["faces"] != Value::Array(Vec::new()));
    let mut expected: Vec<String> = with_faces.map(|row| format!("{}.jpg", text(&row["image_id"]))).collect();
    expected.sort();
    let drawn = fs::read_dir(place.path("out/drawn")).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<String> = drawn.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(expected.len() >= 3);
    assert_eq!(names, expected);
    for name in names {
        let jpeg = fs::read(place.path("out/drawn").join(&name)).unwrap();
        let header = turbojpeg::read_header(&jpeg).unwrap();
        assert_eq!(header.width.max(header.height), 640, "{name}");
        // The colour of the boxes, which the photographs (grey, brown) have nowhere.
        let picture = turbojpeg::decompress(&jpeg, turbojpeg::PixelFormat::RGB).unwrap();
        let green = picture.pixels.chunks_exact(3).filter(|rgb| rgb[1] > 180 && rgb[0] < 120 && rgb[2] < 120).count();
        assert!(green > 20, "{name}: {green} pixels of a box");
    }
}

#[test]
fn a_folder_for_drawings_that_cannot_be_made_is_named() {
    let place = Place::new();
    place.write("file", "");
    finish(place.local("http://[::1]/a.jpg --annotate file/out")).with_code(1).says(&["file/out", "annotated"]);
}

#[test]
fn the_summary_counts_what_the_export_lists() {
    let (place, server) = (Place::new(), demo_server());
    place.write("urls.txt", list(&server) + &server.url("/photos/newton.png"));
    finish(place.local("urls.txt --output none")).success();
    let json = finish(place.facemill("summary -o json")).success().stdout;
    let summary: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&summary["total"], &summary["faces"]), (&21.into(), &1.into()));
    assert_eq!(summary["by_status"], serde_json::json!({"detected": 16, "failed": 5}));
    assert_eq!(summary["by_reason"], serde_json::json!({"http_client_error": 5}));
    for stage in ["fetch", "preprocess", "detect"] {
        assert!(summary["latency_ms"][stage]["p50"].as_f64().unwrap() > 0.0, "{stage}");
    }
    assert!(finish(place.facemill("summary")).success().stdout.contains("http_client_error"));
    assert_eq!(place.rows("--status failed").len(), 5);
    let csv = finish(place.facemill("export --format csv --status detected")).success().stdout;
    assert_eq!(csv.lines().count(), 17);
    finish(place.facemill("export --format parquet --output rows.parquet")).success();
    assert!(fs::read(place.path("rows.parquet")).unwrap().starts_with(b"PAR1"));
    // `script` (Debian's bsdutils, on every machine) runs a command on a terminal of its own.
    let on_a_terminal = place.shell(r#"script -q -e -c "$0 export --format parquet" /dev/null"#);
    let refused = finish(on_a_terminal).with_code(1).stdout;
    assert!(refused.contains("Parquet is binary") && !refused.contains("PAR1"), "{refused}");
}

#[test]
fn reading_commands_say_that_there_is_no_database_yet() {
    let place = Place::new();
    for words in ["export", "summary"] {
        finish(place.facemill(words)).with_code(1).says(&["facemill.db", "facemill local"]);
    }
    assert!(!place.path("facemill.db").exists());
}

#[test]
fn settings_come_from_the_file_the_environment_and_the_command_line_in_that_order() {
    let place = Place::new();
    place.write("my.toml", "[retry]\nattempts = 5\ncap = \"9s\"\n[fetch]\nhost_rate = 2.5\n");
    let mut command = place.facemill("config show --config my.toml --set fetch.host_rate=4");
    command.env("FACEMILL__RETRY__CAP", "8s");
    let shown = finish(command).success().stdout;
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}"));
    assert!(line("retry.attempts = 5").contains("my.toml"));
    assert!(line("retry.cap = \"8s\"").contains("FACEMILL__RETRY__CAP"));
    assert!(line("fetch.host_rate = 4").contains("--set"));
    assert!(line("retry.base = \"500ms\"").contains("default"));
}

#[test]
fn the_printed_defaults_are_a_configuration_file() {
    let place = Place::new();
    let defaults = finish(place.facemill("config defaults")).success().stdout;
    place.write("defaults.toml", &defaults);
    finish(place.facemill("config show --config defaults.toml")).success();
    assert!(defaults.contains("[fetch]") && defaults.contains("# "));
}

#[test]
fn help_version_completions_and_the_manual_are_printed() {
    let place = Place::new();
    for (words, parts) in [
        ("--help", ["facemill local urls.txt", "Exit codes"]),
        ("local --help", ["--allow-network", "--retry"]),
        ("--version", ["facemill ", env!("CARGO_PKG_VERSION")]),
        ("completion bash", ["complete", "--annotate"]),
        ("completion zsh", ["#compdef facemill", "--annotate"]),
        ("completion fish", ["complete -c facemill", "annotate"]),
        ("man", [".TH facemill", "completion"]),
    ] {
        let ended = finish(place.facemill(words)).success();
        for part in parts {
            assert!(ended.stdout.contains(part), "facemill {words} has no '{part}'");
        }
        assert_eq!(ended.stderr, "", "facemill {words}");
    }
    place.write("facemill.bash", finish(place.facemill("completion bash")).stdout);
    finish(place.shell("bash -n facemill.bash")).success();
}
