//! State that outlives an image (the decoder's process and socket, connections, the model's session, buffers) carries
//! nothing over to the next one.

use std::{collections::BTreeMap, fs};

use fastrand::Rng;
use integration_tests::{Options, WebServer};
use serde_json::{Value, json};

use crate::{
    damaged::{mutant, other_formats, with_broken_headers, write_all},
    pictures::write_small,
    program::{Place, finish, text},
};

/// Runs the program over these images and returns, by name, what their rows say apart from times.
fn run(place: &Place, server: &WebServer, names: &[String], words: &str) -> BTreeMap<String, Value> {
    let urls: String = names.iter().map(|name| server.url(&format!("/photos/{name}\n"))).collect();
    place.write("urls.txt", urls);
    // One image at a time, in the order of the list, through one decoder and one session. The time limit is so long
    // that none fails for it on a busy machine.
    let one = "--set preprocess.threads=1 --set detect.threads=1 --set local.partitions=1 \
        --set fetch.host_concurrency=1 --set preprocess.decode_timeout=60s";
    finish(place.local(&format!("urls.txt --output none {one} {words}"))).success();
    let of = |(url, row): (String, Value)| {
        let kept = ["status", "reason", "detail", "content_sha256", "width", "height", "truncated", "faces"];
        let name = url.rsplit('/').next().unwrap().to_owned();
        (name, kept.iter().map(|field| (*field, row[*field].clone())).collect())
    };
    place.rows_by_url("").into_iter().map(of).collect()
}

fn small_photos() -> (Place, Vec<Vec<u8>>) {
    let photos = Place::new();
    write_small(&photos.path(""), 8, 80);
    let files = (0..4).map(|crop| fs::read(photos.path(&format!("{crop}.jpg"))).unwrap()).collect();
    (photos, files)
}

#[test]
fn jpegs_with_damaged_headers_spoil_no_jpeg_behind_them() {
    let (photos, good) = small_photos();
    let damaged = write_all(&photos.path(""), "damaged", with_broken_headers(&good[0]));
    let good = write_all(&photos.path(""), "good", good.into_iter().cycle().take(40));
    let server = WebServer::start(Options::new(photos.path(""))).unwrap();
    for isolate in [true, false] {
        let place = Place::new();
        let rows = run(
            &place,
            &server,
            // The one without tables comes right behind a good one, which has some.
            &[&good[..1], &damaged[4..], &damaged[..4], &good[1..]].concat(),
            &format!("--set preprocess.isolate={isolate}"),
        );
        assert!(damaged.iter().all(|name| rows[name]["reason"] == "corrupt_image"), "{rows:#?}");
        assert!(good.iter().all(|name| rows[name]["status"] == "detected"), "{rows:#?}");
    }
}

#[test]
fn every_image_has_the_same_outcome_among_damaged_ones_in_any_order() {
    let (photos, seeds) = small_photos();
    let mut random = Rng::with_seed(12);
    let seeds = [seeds, other_formats()].concat();
    let good = write_all(&photos.path(""), "good", seeds.iter().cloned().cycle().take(40));
    let broken = write_all(&photos.path(""), "broken", with_broken_headers(&seeds[0]).into_iter().cycle().take(20));
    let mutants = seeds.iter().cycle().take(320).map(|seed| mutant(seed, &mut random)).collect::<Vec<_>>();
    let mutants = write_all(&photos.path(""), "mutant", mutants);
    let server = WebServer::start(Options::new(photos.path(""))).unwrap();

    let alone = run(&Place::new(), &server, &good, "");
    assert!(alone.values().all(|row| row["status"] == "detected"), "{alone:#?}");
    let mut all = [good, broken, mutants].concat();
    let runs: Vec<_> = (0..3)
        .map(|_| {
            random.shuffle(&mut all);
            run(&Place::new(), &server, &all, "")
        })
        .collect();
    assert_eq!(runs[0].len(), all.len());
    for (name, row) in &runs[0] {
        assert!(
            runs.iter().all(|run| run[name] == *row),
            "{name}: {:#?}",
            runs.iter().map(|run| &run[name]).collect::<Vec<_>>()
        );
        assert_eq!(alone.get(name).unwrap_or(row), row, "{name}");
    }
    let corrupt = runs[0].values().filter(|row| row["reason"] == json!("corrupt_image")).count();
    let detected = runs[0].values().filter(|row| text(&row["status"]) == "detected").count();
    assert!(corrupt > 60 && detected > 100, "a mixture: {corrupt} corrupt, {detected} detected");
}
