use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    counts::{Counter, Counters},
    meter::{Find, Labels, Meter, Read, Timings},
    metrics::{
        ATTEMPT_DURATION, DEAD_LETTERS, FACES, FETCHED, HANDED_OVER, HELD_BACK, LANE_AGE, LANE_FILL, LANE_RECORDS,
        LANE_RUNNING, LANE_SIZE, OUTCOMES, PAUSED_PARTITIONS, PAUSES, RECEIVED, RECORD_DURATION, RECORDS_FUSED,
        RECORDS_HANDED_OVER, RECORDS_POSTPONED, RECORDS_RECEIVED, RECORDS_SETTLED, RECORDS_SKIPPED, RETRIES,
    },
};

/// What a runner counts: of one stage and topic, or of all stages of a process together.
#[derive(Debug, Default)]
pub struct StageMetrics {
    /// Records taken in.
    pub received: Counter,
    /// Their bytes.
    pub received_bytes: Counter,
    /// Records whose effect is durable.
    pub settled: Counter,
    /// Records that the next topic has taken.
    pub handed_over: Counter,
    /// Their bytes.
    pub handed_over_bytes: Counter,
    /// Records that the next stage took in the same process.
    pub fused: Counter,
    /// Bytes of fetched bodies.
    pub fetched_bytes: Counter,
    /// URLs that had a row already, so that no work was done.
    pub skipped: Counter,
    /// URLs put off to a topic in which they wait for a later try, by reason.
    pub postponed: Counters<1>,
    /// Records set aside for a person, by class.
    pub dead_letters: Counters<1>,
    /// Rows written, by status and reason.
    pub outcomes: Counters<2>,
    /// Faces in the rows written.
    pub faces: Counter,
    /// Attempts that failed and were made again in the process, by reason.
    pub retries: Counters<1>,
    /// Times that a partition was paused, by what was full.
    pub pauses: Counters<1>,
    /// How long attempts took.
    pub attempts: Timings,
    /// How long records took.
    pub records: Timings,
    /// Whether nothing new is begun because the next stage is too far behind.
    pub held_back: AtomicBool,
    lanes: Mutex<Vec<LaneState>>,
}

/// What is under way of one partition.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LaneState {
    /// Which.
    pub partition: i32,
    /// Records from the oldest unfinished one to the newest.
    pub records: usize,
    /// Records being worked on.
    pub running: usize,
    /// Bytes of the unfinished ones.
    pub bytes: usize,
    /// Time since the oldest of them was taken in.
    pub age: Duration,
    /// Share in use of each bound.
    pub fill: [(&'static str, f64); 4],
    /// Whether the source hands out no more of it.
    pub is_paused: bool,
}

/// The two ends in [`StageMetrics::outcomes`].
const DETECTED: &str = "detected";
const FAILED: &str = "failed";

impl StageMetrics {
    /// Counts that are exported.
    pub fn exported(meter: &Meter, stage: &'static str, topic: &str) -> Arc<Self> {
        let labels: Labels = vec![("stage", stage.to_owned()), ("topic", topic.to_owned())];
        let metrics = Arc::new(StageMetrics {
            attempts: meter.timings(&ATTEMPT_DURATION, labels.clone()),
            records: meter.timings(&RECORD_DURATION, labels.clone()),
            pauses: Counters::of(&[["records"], ["bytes"], ["all_bytes"], ["age"]]),
            dead_letters: Counters::of(&[["invalid_record"], ["internal_error"]]),
            outcomes: Counters::of(&[[DETECTED, ""]]),
            ..StageMetrics::default()
        });
        let counters: [(_, Find<StageMetrics>); 9] = [
            (&RECORDS_RECEIVED, |of| &of.received),
            (&RECEIVED, |of| &of.received_bytes),
            (&RECORDS_SETTLED, |of| &of.settled),
            (&RECORDS_HANDED_OVER, |of| &of.handed_over),
            (&HANDED_OVER, |of| &of.handed_over_bytes),
            (&RECORDS_FUSED, |of| &of.fused),
            (&FETCHED, |of| &of.fetched_bytes),
            (&RECORDS_SKIPPED, |of| &of.skipped),
            (&FACES, |of| &of.faces),
        ];
        counters.iter().for_each(|(metric, read)| meter.counter(metric, &metrics, &labels, *read));
        meter.counters(&RECORDS_POSTPONED, &metrics, &labels, |of| &of.postponed);
        meter.counters(&DEAD_LETTERS, &metrics, &labels, |of| &of.dead_letters);
        meter.counters(&OUTCOMES, &metrics, &labels, |of| &of.outcomes);
        meter.counters(&RETRIES, &metrics, &labels, |of| &of.retries);
        meter.counters(&PAUSES, &metrics, &labels, |of| &of.pauses);
        meter.number(&HELD_BACK, &metrics, &labels, |of| f64::from(of.held_back.load(Ordering::Relaxed)));
        meter.number(&PAUSED_PARTITIONS, &metrics, &labels, |of| {
            of.lanes().iter().filter(|lane| lane.is_paused).count() as f64
        });
        let gauges: [(_, Read<LaneState, f64>); 4] = [
            (&LANE_RECORDS, |lane| lane.records as f64),
            (&LANE_SIZE, |lane| lane.bytes as f64),
            (&LANE_AGE, |lane| lane.age.as_secs_f64()),
            (&LANE_RUNNING, |lane| lane.running as f64),
        ];
        let of_partition = |labels: &Labels, lane: &LaneState| -> Labels {
            labels.iter().cloned().chain([("partition", lane.partition.to_string())]).collect()
        };
        for (metric, read) in gauges {
            let (metrics, labels) = (Arc::clone(&metrics), labels.clone());
            meter.observe(metric, move || {
                metrics.lanes().iter().map(|lane| (of_partition(&labels, lane), read(lane))).collect()
            });
        }
        let observed = Arc::clone(&metrics);
        meter.observe(&LANE_FILL, move || {
            let mut series = Vec::new();
            for lane in observed.lanes() {
                for (bound, share) in lane.fill {
                    let mut labels = of_partition(&labels, &lane);
                    labels.push(("bound", bound.to_owned()));
                    series.push((labels, share));
                }
            }
            series
        });
        metrics
    }

    /// A row was written: as detected, or as failed for a reason.
    pub fn row_written(&self, reason: Option<&'static str>) {
        let values = reason.map_or([DETECTED, ""], |reason| [FAILED, reason]);
        self.outcomes.add(values, 1);
    }

    /// Rows written as detected.
    pub fn detected(&self) -> u64 {
        self.rows(DETECTED)
    }

    /// Rows written as failed.
    pub fn failed(&self) -> u64 {
        self.rows(FAILED)
    }

    fn rows(&self, wanted: &str) -> u64 {
        self.outcomes.all().into_iter().filter(|([status, _], _)| *status == wanted).map(|(_, count)| count).sum()
    }

    /// URLs that reached a terminal row, in this run or before.
    pub fn finished(&self) -> u64 {
        self.outcomes.sum() + self.skipped.get()
    }

    /// Notes what is under way of all partitions.
    pub fn set_lanes(&self, lanes: Vec<LaneState>) {
        *self.lanes.lock().unwrap_or_else(PoisonError::into_inner) = lanes;
    }

    fn lanes(&self) -> Vec<LaneState> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
