//! How far a run is: a bar on a terminal, else a plain line now and then, both on stderr.

use std::{
    io::IsTerminal,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

use super::say;
use crate::telemetry::StageMetrics;

/// How often a terminal's bar is drawn anew.
const REDRAW: Duration = Duration::from_millis(200);

/// How often a plain line is written.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Shows a run's counts while it lasts.
pub(super) struct Progress {
    metrics: Arc<StageMetrics>,
    /// Lines in all, once they are counted.
    total: Arc<OnceLock<u64>>,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new(metrics: Arc<StageMetrics>, total: Arc<OnceLock<u64>>) -> Self {
        let bar = std::io::stderr().is_terminal().then(ProgressBar::no_length);
        if let (Some(bar), Ok(style)) = (&bar, ProgressStyle::with_template("{spinner} {wide_msg}")) {
            bar.set_style(style);
        }
        Progress { metrics, total, started: Instant::now(), bar }
    }

    /// Shows the counts until the future is dropped.
    pub(super) async fn watch(&self) {
        let mut ticks = tokio::time::interval(if self.bar.is_some() { REDRAW } else { PLAIN_INTERVAL });
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.show();
        }
    }

    fn show(&self) {
        let Some(bar) = &self.bar else {
            return say(&self.line());
        };
        if let Some(total) = self.total.get() {
            if bar.length().is_none()
                && let Ok(style) = ProgressStyle::with_template("{bar:20} {percent:>3}% {wide_msg}")
            {
                bar.set_style(style);
            }
            bar.update(|state| {
                state.set_len(*total);
                state.set_pos(self.metrics.finished());
            });
        }
        bar.set_message(self.line());
    }

    /// Prints something else without tearing the bar.
    pub(super) fn suspended(&self) -> impl Fn(&mut dyn FnMut()) + Clone + Send + Sync + use<> {
        let bar = self.bar.clone();
        move |print| match &bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the bar away; the last word is the caller's.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// The counts in one line.
    pub(super) fn line(&self) -> String {
        let metrics = &self.metrics;
        let settled = metrics.finished();
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        // What was done before costs next to nothing and would make the rate a fairy tale.
        let worked = metrics.detected() + metrics.failed();
        let rate = worked as f64 / seconds;
        let of_total = self.total.get().map(|total| format!(" of {}", HumanCount(*total))).unwrap_or_default();
        let bytes = HumanBytes((metrics.fetched_bytes.get() as f64 / seconds) as u64);
        format!(
            "{}{of_total} URLs{}: {} detected ({} faces), {} failed, {} skipped; {rate:.1} URL/s, {bytes}/s",
            HumanCount(settled),
            self.time_left(settled, rate),
            HumanCount(metrics.detected()),
            HumanCount(metrics.faces.get()),
            HumanCount(metrics.failed()),
            HumanCount(metrics.skipped.get()),
        )
    }

    fn time_left(&self, settled: u64, rate: f64) -> String {
        match self.total.get().and_then(|total| total.checked_sub(settled)) {
            Some(left) if left > 0 && rate > 0.0 => {
                let left = Duration::from_secs((left as f64 / rate).min(1e9) as u64);
                format!(", {} left", humantime::format_duration(left))
            }
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_counts_every_outcome_and_estimates_only_what_is_known() {
        let metrics = Arc::new(StageMetrics::default());
        metrics.outcomes.add(["detected", ""], 1500);
        metrics.faces.add(7);
        metrics.outcomes.add(["failed", "http_client_error"], 2);
        metrics.skipped.add(3);
        let total = Arc::new(OnceLock::new());
        let progress = Progress::new(metrics, Arc::clone(&total));
        let line = progress.line();
        assert!(line.starts_with("1,505 URLs: 1,500 detected (7 faces), 2 failed, 3 skipped; "), "{line}");
        assert!(!line.contains("left"), "{line}");
        total.set(10_000).unwrap();
        assert!(progress.line().starts_with("1,505 of 10,000 URLs, ") && progress.line().contains(" left: 1,500"));
    }
}
