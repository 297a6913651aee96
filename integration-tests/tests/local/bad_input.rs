use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use flate2::{Compression, write::GzEncoder};
use integration_tests::photos;
use rusqlite::Connection;

use crate::{
    pictures::demo_server,
    program::{Place, finish, rows, text},
};

/// Files of a folder with their contents, to see that nothing was touched or left behind.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let mut contents: Vec<_> =
        files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect();
    contents.sort();
    contents
}

#[test]
fn a_list_that_cannot_be_opened_is_named_before_anything_starts() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    place.write("urls.txt", "http://[::1]/a.jpg\n");
    finish(place.local("urls.txt missing.txt")).with_code(2).says(&["missing.txt", "No such file"]);
    finish(place.local("folder")).with_code(2).says(&["folder", "it is a folder"]);
    assert!(!place.path("facemill.db").exists());
}

#[test]
fn of_a_broken_list_what_comes_before_the_break_is_done() {
    let (place, server) = (Place::new(), demo_server());
    let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
    for n in 0..1_500 {
        writeln!(gzip, "{}", server.url(&format!("/missing.jpg?{n}"))).unwrap();
    }
    let whole = gzip.finish().unwrap();
    place.write("broken.gz", &whole[..whole.len() / 2]);
    place.write("urls.txt.gz", &whole);
    finish(place.local("broken.gz --output none")).with_code(1).says(&["broken.gz", "cannot read the URL list"]);
    let rows = place.rows("").len();
    assert!((300..1_000).contains(&rows), "{rows} rows");
    assert_eq!(server.total_hits(), rows);
    finish(place.local("urls.txt.gz --output none")).success().counts(&format!("{rows} skipped"));
}

#[test]
fn files_that_are_no_database_of_ours_stay_as_they_are() {
    let place = Place::new();
    let folder = place.path("");
    Connection::open(place.path("other.db")).unwrap().execute_batch("CREATE TABLE diary (entry TEXT)").unwrap();
    place.write("notes.txt", "Dear diary, ".repeat(100));
    finish(place.local("http://[::1]/a.jpg --db newer.db")).success();
    Connection::open(place.path("newer.db")).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let before = contents(&folder);
    assert_eq!(before.len(), 3);

    for (db, problem) in [
        ("other.db", "belongs to another program"),
        ("notes.txt", "no SQLite database"),
        ("newer.db", "schema version 2, this facemill reads version 1"),
        ("missing/x.db", "its folder does not exist"),
        ("/proc/self", "is a folder"),
    ] {
        finish(place.local(&format!("http://[::1]/a.jpg --db {db}"))).with_code(1).says(&[db, problem, "--db"]);
        finish(place.facemill(&format!("export --db {db}"))).with_code(1).says(&[db]);
        assert_eq!(contents(&folder), before, "{db}");
    }
}

#[test]
fn a_damaged_database_is_said_to_be_damaged() {
    let place = Place::new();
    place.write("urls.txt", (0..300).map(|n| format!("http://[::1]/{n}.jpg\n")).collect::<String>());
    finish(place.local("urls.txt --output none")).success();
    let mut database = fs::read(place.path("facemill.db")).unwrap();
    let length = database.len();
    assert!(length > 40_000);
    database[4_096..length - 4_096].fill(0xa5);
    place.write("facemill.db", database);
    finish(place.local("urls.txt --output none --retry failed")).with_code(1).says(&[
        "facemill.db",
        "damaged",
        ".recover",
    ]);
}

#[test]
fn a_missing_or_wrong_model_or_runtime_says_which_command_fetches_it() {
    let place = Place::new();
    let model = fs::read(photos().unwrap().join("../face_detection_yunet_2023mar.onnx")).unwrap();
    let mut other = model.clone();
    *other.last_mut().unwrap() ^= 1;
    place.write("other.onnx", other);
    place.write("text.onnx", "no model at all");
    place.write("text.so", "no library at all");
    place.write("half.onnx", &model[..model.len() / 2]);
    for (setting, parts) in [
        ("detect.model=missing.onnx", ["missing.onnx", "make assets"]),
        (
            "detect.model=other.onnx",
            ["8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4", "make assets"],
        ),
        ("detect.model=text.onnx --set detect.model_sha256=", ["text.onnx", "must be a YuNet model"]),
        ("detect.model=half.onnx --set detect.model_sha256=", ["half.onnx", "must be a YuNet model"]),
        ("detect.runtime_library=missing.so", ["missing.so", "make assets"]),
        ("detect.runtime_library=text.so", ["text.so", "make assets"]),
    ] {
        finish(place.local(&format!("http://[::1]/a.jpg --set {setting}"))).with_code(1).says(&parts);
        assert_eq!(place.rows("").len(), 0, "{setting}: nothing was begun");
    }
}

#[test]
fn wrong_use_has_an_exit_code_of_its_own_and_a_hint() {
    let place = Place::new();
    place.write("bad.toml", "[fetch]\nsimultaneity = 3\n");
    let url = "http://[::1]/a.jpg";
    for (words, parts) in [
        (format!("local {url} --set fetch.working_size=320"), ["fetch.working_size", "detect.working_size"]),
        (format!("local {url} --set detect.working_size=333"), ["detect.working_size", "multiple of 32"]),
        (format!("local {url} --set fetch.total_timeout=soon"), ["fetch.total_timeout", "soon"]),
        (format!("local {url} --set nonsense"), ["nonsense", "KEY=VALUE"]),
        (format!("local {url} --config bad.toml"), ["simultaneity", "bad.toml"]),
        (format!("local {url} --config missing.toml"), ["missing.toml", "No such file"]),
        (format!("local {url} --retry read_timeouts"), ["read_timeouts", "read_timeout,"]),
        (format!("local {url} --allow-network localhost"), ["localhost", "10.1.0.0/16"]),
        (format!("local {url} --output xml"), ["xml", "jsonl"]),
        (format!("local {url} --set log.level=loud=very"), ["log.level", "loud=very"]),
        ("local - -".to_owned(), ["standard input", "once"]),
        ("local".to_owned(), ["FILE|-|URL", "--help"]),
        ("locale".to_owned(), ["locale", "--help"]),
    ] {
        let ended = finish(place.facemill(&words)).with_code(2).says(&parts);
        assert_eq!(ended.stdout, "", "{words}");
    }
    assert!(!place.path("facemill.db").exists());
}

#[test]
fn an_impossible_setting_in_the_environment_is_named_with_its_variable() {
    let place = Place::new();
    let mut command = place.local("http://[::1]/a.jpg");
    command.env("FACEMILL__RETRY__ATTEMPTS", "0");
    finish(command).with_code(2).says(&["retry.attempts", "FACEMILL__RETRY__ATTEMPTS", "at least 1"]);
}

/// A limit on the size of files stands for a disk that fills up while the rows come in.
#[test]
fn a_full_disk_is_an_error_that_costs_no_row_and_room_finishes_the_run() {
    let (place, server) = (Place::new(), demo_server());
    place.write("urls.txt", (0..600).map(|n| server.url(&format!("/missing.jpg?{n}\n"))).collect::<String>());
    let limited = "trap '' XFSZ; ulimit -f 300; exec \"$0\" local urls.txt --output none --allow-network 127.0.0.0/8";
    finish(place.shell(limited)).with_code(1).says(&["facemill.db", "disk", "run the same command again"]);
    let kept = place.rows("");
    assert!(!kept.is_empty() && kept.len() < 600, "{} rows", kept.len());

    finish(place.local("urls.txt --output none")).success().counts(&format!("{} skipped", kept.len()));
    let rows = place.rows_by_url("");
    assert_eq!(rows.len(), 600);
    assert!(kept.iter().all(|row| rows[text(&row["url"])] == *row), "a stored row was changed");
}

/// A real file system of 600 KiB, where the system lets us mount one: it goes when the shell ends.
#[test]
fn a_file_system_without_space_is_named_as_such() {
    if !permits(&["-r", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]) {
        eprintln!("no mounts here: the test of the limited file size has to stand for this one");
        return;
    }
    let (place, server) = (Place::new(), demo_server());
    place.write("urls.txt", (0..600).map(|n| server.url(&format!("/missing.jpg?{n}\n"))).collect::<String>());
    fs::create_dir(place.path("small")).unwrap();
    let local = "\"$0\" local urls.txt --db small/x.db --output none --allow-network 127.0.0.0/8; echo \"code $?\"";
    let export = "\"$0\" export --db small/x.db";
    let script = format!(
        "mount -t tmpfs -o size=600k none small && {local} && {export} && mount -o remount,size=50m small && \
         {local} && {export}"
    );
    let mut command = place.shell("exec unshare -r -m sh -c \"$1\" \"$0\"");
    command.arg(script);
    let ended = finish(command).success().says(&["small/x.db: the disk is full; no stored row is lost: free space"]);
    let (before, after) = ended.stdout.strip_prefix("code 1\n").and_then(|rest| rest.split_once("code 0\n")).unwrap();
    let (before, after) = (rows(before), rows(after));
    assert!(!before.is_empty() && before.len() < 600 && after.len() == 600, "{} and {}", before.len(), after.len());
    assert!(before.iter().all(|row| after.contains(row)), "a stored row was changed");
}

/// Whether `unshare` may do this here.
fn permits(words: &[&str]) -> bool {
    Command::new("unshare").args(words).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// In a network of its own without any interface, where the system lets us make one; the name of the second
/// URL exists nowhere (RFC 6761, section 6.4), so that it ends so everywhere.
#[test]
fn without_a_network_every_url_ends_as_a_failure_of_its_name() {
    let place = Place::new();
    place.write("urls.txt", "http://example.org/a.jpg\nhttp://nowhere.invalid/a.jpg\n");
    let can_be_alone = permits(&["-r", "-n", "true"]);
    let command = if can_be_alone {
        place.shell("exec unshare -r -n \"$0\" local urls.txt --set fetch.dns_timeout=500ms --set retry.base=10ms")
    } else {
        place.local("http://nowhere.invalid/a.jpg --set fetch.dns_timeout=500ms --set retry.base=10ms")
    };
    finish(command).success().counts("0 skipped");
    let rows = place.rows("");
    assert_eq!(rows.len(), if can_be_alone { 2 } else { 1 });
    for row in rows {
        assert!(["dns_failed", "dns_not_found"].contains(&text(&row["reason"])), "{row}");
    }
}
