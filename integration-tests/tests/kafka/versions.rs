//! An upgrade, in the middle of which stages of two versions work side by side.

use std::{env, path::PathBuf, time::Duration};

use crate::{
    cluster::Cluster,
    process::Process,
    site::{Site, is_as_expected},
};

const STAGES: [&str; 3] = ["fetch", "preprocess", "detect"];

#[test]
#[ignore = "needs the stack, and an older program: make it PREVIOUS=FILE"]
fn stages_of_two_versions_end_every_url_in_one_row_whichever_is_the_older() {
    const URLS: usize = 100;
    let previous = PathBuf::from(env::var_os("FACEMILL_TEST_PREVIOUS").unwrap());
    for old in [["fetch", "detect"].as_slice(), &["preprocess"]] {
        let (cluster, site) = (Cluster::new("versions"), Site::new(Duration::ZERO));
        let run = |stage: &&str| match old.contains(stage) {
            true => cluster.run_by(&previous, stage),
            false => cluster.run(stage, ""),
        };
        let stages: Vec<_> = STAGES.iter().map(run).collect();
        let urls = site.urls(URLS);
        cluster.produce("urls", &urls);
        let rows = cluster.until_rows(URLS);
        urls.iter().for_each(|url| is_as_expected(url, &rows[url]));
        site.was_asked_once_for(URLS);
        assert!(cluster.entries("dlq").is_empty(), "one could not read what the other wrote");
        stages.into_iter().for_each(Process::stop);
    }
}
