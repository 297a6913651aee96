use std::{thread, time::Duration};

use integration_tests::{Options, WebServer};

use crate::{
    pictures::write_small,
    program::{Place, start},
};

const URLS: usize = 3_000;

#[test]
fn resident_memory_stays_under_400_mib_and_flat() {
    let photos = Place::new();
    write_small(&photos.path(""), 4, 82);
    let sizes: Vec<u64> = (0..4).map(|n| photos.path(&format!("{n}.jpg")).metadata().unwrap().len()).collect();
    let mean = sizes.iter().sum::<u64>() / 4;
    assert!((80_000..=100_000).contains(&mean), "pictures of {mean} bytes");

    let server = WebServer::start(Options::new(photos.path(""))).unwrap();
    let place = Place::new();
    place.write("urls.txt", (0..URLS).map(|n| server.url(&format!("/counted/{n}.jpg\n"))).collect::<String>());
    let mut run = start(place.local("urls.txt --output none"));
    // Resident memory by how far the run was.
    let (mut samples, mut highest) = (Vec::new(), 0.0_f64);
    while run.is_running() {
        if let (Some(now), Some(peak)) = (run.mebibytes("VmRSS"), run.mebibytes("VmHWM")) {
            samples.push((server.total_hits(), now));
            highest = highest.max(peak);
        }
        thread::sleep(Duration::from_millis(50));
    }
    let ended = run.end().success();
    assert!(ended.stderr.contains(" 0 failed"), "{}", ended.stderr);

    let third = |n: usize| {
        let range = URLS * n / 3..URLS * (n + 1) / 3;
        let of_third = samples.iter().filter(|(hits, _)| range.contains(hits)).map(|(_, mib)| *mib);
        let found: Vec<f64> = of_third.collect();
        assert!(found.len() > 10, "{} samples", found.len());
        found.into_iter().fold(0.0, f64::max)
    };
    let (first, middle, last) = (third(0), third(1), third(2));
    eprintln!(
        "{URLS} URLs in {:?}: {first:.0}, {middle:.0}, {last:.0} MiB by thirds, at most {highest:.0}",
        ended.took
    );
    assert!(highest < 400.0, "{highest:.0} MiB");
    assert!(last <= middle * 1.15, "{middle:.0} MiB, then {last:.0}");
}
