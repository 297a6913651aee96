//! How often one place in the code may write to the log.
//!
//! While a database is down, thousands of records wait for it, and each says so at every try. The first of them tell
//! what there is to tell; the rest would fill the disk of the node.

use std::{
    collections::HashMap,
    num::NonZero,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota};
use tracing::{Event, Level, Metadata, Subscriber, callsite::Identifier};
use tracing_subscriber::{Layer, layer::Context};

use super::{
    meter::{Labels, Meter},
    metrics::LOG_EVENTS_DROPPED,
};

/// Of the lines that say what was left out.
const TARGET: &str = "facemill::log";

/// How often it is said.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

const fn number(number: u32) -> NonZero<u32> {
    NonZero::<u32>::MIN.saturating_add(number - 1)
}

/// What one place may write of warnings and what is merely told: so much at once, and so much after that.
const USUAL: Quota = Quota::per_second(number(1)).allow_burst(number(20));

/// A person is to look at each of these, and there are few kinds of them.
const ERRORS: Quota = Quota::per_second(number(10)).allow_burst(number(100));

/// Of the exporters, which fail every few seconds while the collector is down: no URL suffers by it.
const EXPORTERS: Quota = Quota::per_minute(number(1)).allow_burst(number(2));

/// Limits each place in the code that writes to the log. Levels below INFO are not limited: whoever asks for those
/// wants to see them.
#[derive(Clone, Default)]
pub struct LogLimit(Arc<State>);

#[derive(Default)]
struct State {
    /// As many as there are places in the code.
    places: RwLock<HashMap<Identifier, Arc<Place>>>,
    errors: AtomicU64,
    warnings: AtomicU64,
    infos: AtomicU64,
}

/// One place in the code.
struct Place {
    metadata: &'static Metadata<'static>,
    limiter: DefaultDirectRateLimiter,
    /// What was left out and not reported yet.
    dropped: AtomicU64,
}

impl LogLimit {
    /// Events left out so far, by level.
    pub fn dropped(&self) -> [(&'static str, u64); 3] {
        let State { errors, warnings, infos, .. } = &*self.0;
        let counts = [("error", errors), ("warn", warnings), ("info", infos)];
        counts.map(|(level, count)| (level, count.load(Ordering::Relaxed)))
    }

    /// Exports how much was left out.
    pub fn export(&self, meter: &Meter) {
        let limit = self.clone();
        let series = |(level, count)| -> (Labels, f64) { (vec![("level", str::to_owned(level))], count as f64) };
        meter.observe(&LOG_EVENTS_DROPPED, move || limit.dropped().map(series).to_vec());
    }

    /// Says in the log what was left out, from time to time, for ever.
    pub async fn report_for_ever(self) {
        let mut interval = tokio::time::interval(REPORT_INTERVAL);
        loop {
            interval.tick().await;
            self.report();
        }
    }

    /// Says in the log what was left out since the last time.
    pub fn report(&self) {
        let places = self.0.places.read().unwrap_or_else(PoisonError::into_inner);
        // Nothing is held while it is written: to write asks for the places.
        let places: Vec<_> = places.values().cloned().collect();
        for place in places {
            let dropped = place.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                let (level, from) = (place.metadata.level().as_str(), place.metadata.target());
                let line = place.metadata.line();
                tracing::warn!(target: TARGET, dropped, level, from, line, "too many lines like one above: left out");
            }
        }
    }

    fn allows(&self, metadata: &'static Metadata<'static>) -> bool {
        let (quota, count) = match *metadata.level() {
            _ if metadata.target() == TARGET => return true,
            Level::ERROR => (ERRORS, &self.0.errors),
            Level::WARN => (USUAL, &self.0.warnings),
            Level::INFO => (USUAL, &self.0.infos),
            Level::DEBUG | Level::TRACE => return true,
        };
        let quota = if metadata.target().starts_with("opentelemetry") { EXPORTERS } else { quota };
        let place = self.place(metadata, quota);
        let is_allowed = place.limiter.check().is_ok();
        if !is_allowed {
            place.dropped.fetch_add(1, Ordering::Relaxed);
            count.fetch_add(1, Ordering::Relaxed);
        }
        is_allowed
    }

    fn place(&self, metadata: &'static Metadata<'static>, quota: Quota) -> Arc<Place> {
        let id = metadata.callsite();
        if let Some(known) = self.0.places.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Arc::clone(known);
        }
        let mut places = self.0.places.write().unwrap_or_else(PoisonError::into_inner);
        let place = || Place { metadata, limiter: DefaultDirectRateLimiter::direct(quota), dropped: AtomicU64::new(0) };
        Arc::clone(places.entry(id).or_insert_with(|| Arc::new(place())))
    }
}

impl<S: Subscriber> Layer<S> for LogLimit {
    // For all layers, not a filter of one: what such a filter leaves out here, tracing-subscriber 0.3 takes for a fault
    // of its own.
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.allows(event.metadata())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::telemetry::{Exporter, LineWriter};

    /// What is written while this is done.
    fn lines(limit: &LogLimit, work: impl FnOnce()) -> Vec<String> {
        let written = Arc::new(Mutex::new(Vec::new()));
        let writer = LineWriter({
            let written = Arc::clone(&written);
            move |line: &[u8]| written.lock().unwrap().push(String::from_utf8_lossy(line).into_owned())
        });
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
        with_default(tracing_subscriber::registry().with(layer).with(limit.clone()), work);
        let written = written.lock().unwrap();
        written.clone()
    }

    #[test]
    fn one_place_that_floods_is_cut_and_others_are_not() {
        let limit = LogLimit::default();
        let lines = lines(&limit, || {
            (0..1000).for_each(|number| tracing::warn!(number, "flood"));
            tracing::warn!("once");
            tracing::info!("twice");
        });
        let floods = lines.iter().filter(|line| line.contains("flood")).count();
        // A slow machine may have taken some seconds.
        assert!((20..60).contains(&floods), "{floods}");
        assert!(lines.iter().any(|line| line.contains("once")) && lines.iter().any(|line| line.contains("twice")));
        assert_eq!(limit.dropped(), [("error", 0), ("warn", 1000 - floods as u64), ("info", 0)]);
    }

    #[test]
    fn what_was_left_out_is_a_metric() {
        let (limit, exporter) = (LogLimit::default(), Exporter::new(&Arc::default()).unwrap());
        limit.export(&exporter.meter());
        let floods = lines(&limit, || (0..100).for_each(|_| tracing::info!("flood"))).len();
        let text = exporter.text().unwrap();
        for (level, count) in [("info", 100 - floods), ("warn", 0), ("error", 0)] {
            let line = format!("facemill_log_events_dropped_total{{level=\"{level}\"}} {count}");
            assert!(text.lines().any(|told| told == line), "{line}: {text}");
        }
    }

    #[test]
    fn errors_get_through_where_warnings_do_not_any_more() {
        let limit = LogLimit::default();
        let lines = lines(&limit, || (0..100).for_each(|_| tracing::error!("fault")));
        assert_eq!(lines.len(), 100);
        assert_eq!(limit.dropped()[0], ("error", 0));
    }

    #[test]
    fn a_collector_that_is_down_is_told_of_now_and_then() {
        let limit = LogLimit::default();
        let fail = || tracing::error!(target: "opentelemetry_sdk", "export failed");
        let lines = lines(&limit, || (0..100).for_each(|_| fail()));
        assert!((2..5).contains(&lines.len()), "{}", lines.len());
    }

    #[test]
    fn what_somebody_asked_for_is_not_cut() {
        let limit = LogLimit::default();
        let lines = lines(&limit, || (0..1000).for_each(|_| tracing::debug!("detail")));
        assert_eq!(lines.len(), 1000);
    }

    #[test]
    fn what_was_left_out_is_told_once_and_never_left_out_itself() {
        let limit = LogLimit::default();
        let lines = lines(&limit, || {
            for _ in 0..50 {
                (0..100).for_each(|_| tracing::info!("flood"));
                limit.report();
            }
            limit.report();
        });
        let told: Vec<_> = lines.iter().filter(|line| line.contains("left out")).collect();
        assert!(told.len() >= 40 && told.len() <= 50, "{}", told.len());
        assert!(told[0].contains("level=\"INFO\"") && told[0].contains("log_limit"), "{}", told[0]);
        let number =
            |line: &str| line.split_once("dropped=").unwrap().1.split(' ').next().unwrap().parse::<u64>().unwrap();
        assert_eq!(told.iter().map(|line| number(line)).sum::<u64>(), limit.dropped()[2].1);
    }
}
