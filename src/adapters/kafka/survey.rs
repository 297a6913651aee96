use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::Duration,
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError as Native,
    types::RDKafkaErrorCode,
};
use tokio_util::sync::CancellationToken;

use super::{
    consumer::{Described, check_topic},
    error::{KafkaError, config_error, is_denied, unanswered},
    groups,
    look::{Log, TopicLook, Watched},
    native::{Answer, Patience, Pending, Refused},
    offsets::{self, End},
    options::{KafkaOptions, client_config},
};
use crate::runner::ports::{Offset, Partition};

/// Between two questions about a group whose coordinator moves.
const AGAIN: Duration = Duration::from_millis(100);

/// How long one request for a topic's partitions takes at most before somebody looks whether to go on.
const SLICE: Duration = Duration::from_secs(2);

/// Where logs start, what is committed, where logs end, who is a member.
const PHASES: u32 = 4;

/// What a client is told that reads a record here and there, and nothing ahead of them.
const SETTINGS: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.partition.eof", "true"),
    // A position that is not there any more: the oldest record that is.
    ("auto.offset.reset", "earliest"),
    ("queued.min.messages", "1"),
    // A larger batch comes whole, but one at a time.
    ("fetch.message.max.bytes", "16384"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.queue.backoff.ms", "10"),
    ("statistics.interval.ms", "0"),
];

/// An offset of each partition, as far as there is one.
type Offsets<T> = Result<BTreeMap<Partition, Result<T, Refused>>, Refused>;

/// Looks at topics and consumer groups without being a member: it joins nothing and commits nothing. It needs the
/// rights to describe topics and groups, and to read records the right to read topics.
pub struct Survey {
    consumer: BaseConsumer<Quiet>,
    options: KafkaOptions,
    timeout: Duration,
}

/// Whom to ask of a topic.
#[derive(Debug, Default)]
struct Led {
    /// Those that have a leader.
    partitions: Vec<Partition>,
    /// One of them is the coordinator of its group.
    brokers: Vec<i32>,
}

/// What goes wrong is in the answers: the log has it for those who ask for it.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(?level, facility, "{text}");
    }

    fn error(&self, error: Native, reason: &str) {
        tracing::debug!(%error, reason, "Kafka");
    }
}

impl ConsumerContext for Quiet {}

impl Survey {
    /// `timeout` bounds each look.
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub fn new(options: &KafkaOptions, group: &str, timeout: Duration) -> Result<Self, KafkaError> {
        let mut config = client_config(options, &[]);
        for (name, value) in SETTINGS {
            config.set(*name, *value);
        }
        // One that subscribes to nothing joins no group. But librdkafka asks for the coordinator of its name, so that
        // it has to be one that this user may describe.
        config.set("group.id", group);
        let consumer = config.create_with_context(Quiet).map_err(|error| config_error(&error))?;
        Ok(Survey { consumer, options: options.clone(), timeout })
    }

    pub(super) fn consumer(&self) -> &BaseConsumer<impl ConsumerContext + use<>> {
        &self.consumer
    }

    /// Looks at each topic and its group, for no longer than the time-out and until `stop`. Blocks.
    ///
    /// The requests for all topics are under way at the same time. What has no answer, or is not for us, is an error of
    /// its topic, and the others go on.
    ///
    /// # Errors
    /// When no broker answers at all.
    pub fn look(&self, watched: &[Watched], stop: Option<&CancellationToken>) -> Result<Vec<TopicLook>, KafkaError> {
        let phase = self.timeout / PHASES;
        let (mut looks, brokers) = self.offsets_of(watched, phase, stop)?;
        self.members(watched, &brokers, Patience::of(phase, stop), &mut looks);
        Ok(looks)
    }

    /// The same without the members. No phase takes longer than `phase`: a broker that hangs must not take the time of
    /// all that follows.
    pub(super) fn offsets(
        &self,
        watched: &[Watched],
        phase: Duration,
        stop: Option<&CancellationToken>,
    ) -> Result<Vec<TopicLook>, KafkaError> {
        Ok(self.offsets_of(watched, phase, stop)?.0)
    }

    /// The same, and the brokers that are up.
    fn offsets_of(
        &self,
        watched: &[Watched],
        phase: Duration,
        stop: Option<&CancellationToken>,
    ) -> Result<(Vec<TopicLook>, Vec<i32>), KafkaError> {
        // Errors of connections pile up where nobody takes them.
        while self.consumer.poll(Duration::ZERO).is_some() {}
        let patience = Patience::of(self.timeout, stop);
        let phase = || patience.at_most(phase);
        let mut looks = Vec::new();
        let mut topics = Vec::new();
        for Watched { topic, .. } in watched {
            let mut look = TopicLook::default();
            topics.push(match self.described(topic, patience) {
                Ok(found) => Led { partitions: led(topic, &found.partitions, &mut look), brokers: found.brokers },
                Err(error @ KafkaError::Unreachable { .. }) => return Err(error),
                Err(error) => {
                    look.errors.push(error);
                    Led::default()
                }
            });
            looks.push(look);
        }
        // In this order: a position that lies below a start that was seen before it is below it indeed, and none lies
        // beyond an end that is seen after it.
        let starts = self.ends(watched, &mut topics, End::Start, phase(), &mut looks);
        self.positions(watched, &mut topics, phase(), &mut looks);
        let ends = self.ends(watched, &mut topics, End::End, phase(), &mut looks);
        for ((look, starts), ends) in looks.iter_mut().zip(starts).zip(ends) {
            let log = |(partition, start): (Partition, Offset)| {
                Some((partition, Log { start, end: ends.get(&partition).copied()?.max(start) }))
            };
            look.logs = starts.into_iter().filter_map(log).collect();
        }
        let brokers = topics.into_iter().map(|topic| topic.brokers).max_by_key(Vec::len).unwrap_or_default();
        Ok((looks, brokers))
    }

    /// The topic's partitions, and the brokers that are up.
    pub(super) fn described(&self, topic: &str, patience: Patience<'_>) -> Result<Described, KafkaError> {
        loop {
            let timeout = patience.left().min(SLICE);
            match check_topic(self.consumer.client(), &self.options, topic, timeout) {
                Err(KafkaError::Unreachable { .. }) if !patience.is_over() => {}
                answered => return answered,
            }
        }
    }

    /// Where the logs of all topics start or end.
    fn ends(
        &self,
        watched: &[Watched],
        topics: &mut [Led],
        end: End,
        patience: Patience<'_>,
        looks: &mut [TopicLook],
    ) -> Vec<BTreeMap<Partition, Offset>> {
        let ask = |watched: &Watched, Led { partitions, .. }: &Led| {
            Some(offsets::ask_log(self.consumer.client(), &watched.topic, partitions, end, patience.left()))
        };
        let answers = self.ask_all(watched, topics, patience, ask, |answer| Ok(offsets::log_offsets(answer)));
        let mut found = Vec::new();
        for (((answer, look), watched), Led { partitions, .. }) in
            answers.into_iter().zip(looks).zip(watched).zip(topics)
        {
            let offsets = self.noted(&watched.topic, None, answer, &mut look.errors);
            if offsets.len() < partitions.len() && look.errors.is_empty() {
                let cause = format!("{} of {} partitions have answered", offsets.len(), partitions.len());
                look.errors.push(unanswered(&watched.topic, None, cause));
            }
            found.push(offsets);
        }
        found
    }

    /// What the groups have committed.
    fn positions(&self, watched: &[Watched], topics: &mut [Led], patience: Patience<'_>, looks: &mut [TopicLook]) {
        let client = self.consumer.client();
        let ask = |Watched { topic, group }: &Watched, Led { partitions, brokers }: &Led| {
            let group = group.as_ref()?;
            Some(offsets::ask_committed(client, brokers, group, topic, partitions, patience.left()))
        };
        let answers = self.ask_all(watched, topics, patience, ask, offsets::committed);
        for (((answer, look), Watched { topic, group }), Led { partitions, .. }) in
            answers.into_iter().zip(looks).zip(watched).zip(topics)
        {
            look.committed = self.noted(topic, group.as_deref(), answer, &mut look.errors);
            // What is not told is no lag of 0.
            if group.is_some() && look.committed.len() < partitions.len() && look.errors.is_empty() {
                let cause = format!("{} of {} partitions have an answer", look.committed.len(), partitions.len());
                look.errors.push(unanswered(topic, group.as_deref(), cause));
            }
        }
    }

    /// Asks of all topics at the same time, and once more of those whose leader or coordinator is about to be another
    /// one: topics that were just made, brokers that have just come up.
    fn ask_all<'c, T>(
        &'c self,
        watched: &[Watched],
        topics: &mut [Led],
        patience: Patience<'_>,
        ask: impl Fn(&Watched, &Led) -> Option<Result<Pending<'c>, Refused>>,
        read: impl Fn(&Answer<'_>) -> Offsets<T>,
    ) -> Vec<Offsets<T>> {
        let mut answers: Vec<Offsets<T>> = watched.iter().map(|_| Ok(BTreeMap::new())).collect();
        let mut is_open: Vec<bool> = topics.iter().map(|topic| !topic.partitions.is_empty()).collect();
        loop {
            let asked = watched.iter().zip(&*topics).zip(&is_open);
            let asked: Vec<_> =
                asked.map(|((watched, topic), open)| if *open { ask(watched, topic) } else { None }).collect();
            for ((asked, answer), open) in asked.into_iter().zip(&mut answers).zip(&mut is_open) {
                *open = asked.is_some();
                if let Some(asked) = asked {
                    *answer = asked.and_then(|asked| asked.first(patience, &read));
                    *open = passes(answer);
                }
            }
            if !is_open.contains(&true) || patience.is_over() {
                return answers;
            }
            thread::sleep(AGAIN);
            for ((watched, topic), _) in watched.iter().zip(&mut *topics).zip(&is_open).filter(|(_, open)| **open) {
                // So that librdkafka knows who leads them now, and we which brokers there are. If not, the answer says so.
                if let Ok(found) = self.described(&watched.topic, patience) {
                    topic.brokers = found.brokers;
                }
            }
        }
    }

    /// How many members the groups have.
    fn members(&self, watched: &[Watched], brokers: &[i32], patience: Patience<'_>, looks: &mut [TopicLook]) {
        let groups: BTreeSet<&str> = watched.iter().filter_map(|watched| watched.group.as_deref()).collect();
        if groups.is_empty() {
            return;
        }
        let groups: Vec<_> = groups.into_iter().collect();
        let described = groups::describe(self.consumer.client(), brokers, &groups, patience, false);
        for (look, Watched { topic, group }) in looks.iter_mut().zip(watched) {
            let Some(group) = group else { continue };
            match described.get(group) {
                Some(Ok(description)) => look.members = Some(description.members),
                Some(Err(refused)) => look.errors.push(self.error(topic, Some(group), refused)),
                None => look.errors.push(self.error(topic, Some(group), &Refused::nothing())),
            }
        }
    }

    /// What was answered; the first of the errors among it is noted.
    fn noted<T>(
        &self,
        topic: &str,
        group: Option<&str>,
        answer: Offsets<T>,
        errors: &mut Vec<KafkaError>,
    ) -> BTreeMap<Partition, T> {
        let mut first = None;
        let mut found = BTreeMap::new();
        match answer {
            Ok(answered) => {
                for (partition, value) in answered {
                    match value {
                        Ok(value) => drop(found.insert(partition, value)),
                        Err(refused) => drop(first.get_or_insert(refused)),
                    }
                }
            }
            Err(refused) => first = Some(refused),
        }
        errors.extend(first.map(|refused| self.error(topic, group, &refused)));
        found
    }

    fn error(&self, topic: &str, group: Option<&str>, refused: &Refused) -> KafkaError {
        if is_denied(refused.code) {
            let topic = match group {
                Some(group) => format!("{topic}' to the group '{group}"),
                None => topic.to_owned(),
            };
            return KafkaError::Denied { topic, cause: refused.code.to_string() };
        }
        unanswered(topic, group, refused.text.clone())
    }
}

/// Those that somebody leads: nobody can say anything of the others.
fn led(topic: &str, partitions: &[(Partition, bool)], look: &mut TopicLook) -> Vec<Partition> {
    let leaderless: Vec<_> = partitions.iter().filter(|(_, led)| !led).map(|(partition, _)| *partition).collect();
    if !leaderless.is_empty() {
        look.errors.push(KafkaError::NoLeader { topic: topic.to_owned(), partitions: leaderless });
    }
    partitions.iter().filter(|(_, led)| *led).map(|(partition, _)| *partition).collect()
}

/// Whether a leader or a coordinator is about to be another one.
fn passes<T>(answer: &Offsets<T>) -> bool {
    use RDKafkaErrorCode::{
        CoordinatorLoadInProgress, CoordinatorNotAvailable, LeaderNotAvailable, NotCoordinator, NotLeaderForPartition,
        UnknownTopicOrPartition,
    };
    let of_moves = |refused: &Refused| {
        matches!(
            refused.code,
            NotLeaderForPartition
                | LeaderNotAvailable
                | UnknownTopicOrPartition
                | NotCoordinator
                | CoordinatorNotAvailable
                | CoordinatorLoadInProgress
        )
    };
    match answer {
        Ok(partitions) => partitions.values().any(|offset| offset.as_ref().is_err_and(of_moves)),
        Err(refused) => of_moves(refused),
    }
}
