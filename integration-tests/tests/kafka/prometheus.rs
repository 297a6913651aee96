//! A real Prometheus that scrapes processes of facemill, with the rules of the chart.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::{
    cluster::{free_port, until},
    process::get,
    program::{Place, clean},
    scripts::queries,
};

/// By how much the rules' durations are divided: 20 minutes are 20 seconds.
const FASTER: u32 = 60;

/// Dropping it kills it.
pub struct Prometheus {
    child: Child,
    port: u16,
    log: PathBuf,
    _place: Place,
}

impl Prometheus {
    /// Scrapes these ports every second and keeps what it sees in a folder of its own.
    #[track_caller]
    pub fn start(ports: &[u16]) -> Self {
        let program = env::var_os("FACEMILL_TEST_PROMETHEUS")
            .unwrap_or_else(|| panic!("FACEMILL_TEST_PROMETHEUS says where the program is; `make it` sets it"));
        let (place, port) = (Place::new(), free_port());
        fs::write(place.path("rules.yaml"), queries(&["--faster", &FASTER.to_string()])).unwrap();
        let targets: Vec<String> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        place.write(
            "prometheus.yaml",
            format!(
                "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
                 rule_files: [rules.yaml]\n\
                 scrape_configs: [{{job_name: facemill, static_configs: [{{targets: [{}]}}]}}]\n",
                targets.join(", ")
            ),
        );
        let log = place.path("log");
        let file = File::create(&log).unwrap();
        let child = clean(program.as_ref())
            .arg(format!("--config.file={}", place.path("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", place.path("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        let prometheus = Prometheus { child, port, log, _place: place };
        until("Prometheus is ready", || get(port, "/-/ready").is_some_and(|(status, _)| status == 200));
        prometheus
    }

    /// Alerts that fire: their names, and the stage that they are about.
    #[track_caller]
    pub fn firing(&self) -> BTreeSet<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let alerts = self.api("alerts");
        let firing = alerts["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["labels"]["stage"]))).collect()
    }

    /// How many targets are up.
    #[track_caller]
    pub fn up(&self) -> usize {
        let targets = self.api("targets");
        targets["activeTargets"].as_array().unwrap().iter().filter(|target| target["health"] == "up").count()
    }

    /// Every query of the dashboard has a result, and every rule was evaluated.
    #[track_caller]
    pub fn answers_the_dashboard(&self) -> String {
        queries(&["--check", &format!("http://127.0.0.1:{}", self.port), "--window", "10s", "--strict"])
    }

    #[track_caller]
    fn api(&self, what: &str) -> Value {
        let (status, body) = get(self.port, &format!("/api/v1/{what}")).unwrap();
        assert_eq!(status, 200, "{body}");
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        answer["data"].take()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}
