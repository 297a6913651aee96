//! `facemill topics`: the topics on the brokers, as `topics/*.yaml` declare them.

use std::{
    collections::BTreeSet,
    io,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand, ValueEnum};

use super::{CliError, ConfigArgs, kafka::KafkaArgs, manual::print, say};
use crate::{
    adapters::kafka::admin::{Admin, AdminError},
    config::Settings,
    topics::{self, Allowed, Change, Plan, Scale, StrimziApi, Topic, TopicError},
};

/// Between two looks at what became of a change.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Compare the topics on the brokers with what facemill needs, create and mend them
///
/// What facemill needs is declared in topics/*.yaml, a copy of which is built in; a delay of retry.later that has no
/// file gets a topic like those that have one. No topic is ever deleted, and
/// no number of partitions ever falls; limits fall only where --allow-lower says so; topics and configurations that are
/// declared nowhere are left alone.
#[derive(Debug, Args)]
pub(super) struct TopicsCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print how the brokers differ from what is declared
    Diff(DiffArgs),
    /// Make it so: prints what it would do, and does it with --yes
    Apply(ApplyArgs),
    /// Print what is declared for other tools; asks no broker
    Render(RenderArgs),
}

#[derive(Debug, Args)]
struct DeclaredArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Topics that are declared elsewhere: a folder of NAME.yaml
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Partitions of every topic, whatever its file says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: Option<i32>,
    /// Replicas of every topic; min.insync.replicas follows: one less, but at least 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=32_767))]
    replicas: Option<i32>,
}

#[derive(Debug, Args)]
struct BrokerArgs {
    #[command(flatten)]
    declared: DeclaredArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    /// Add partitions to topics with keys too: records of one key then are in two partitions
    #[arg(long)]
    allow_repartition: bool,
    /// Lower what the brokers have of retention.ms, retention.bytes, max.message.bytes and min.insync.replicas too:
    /// records are deleted, refused, or written with fewer copies
    #[arg(long)]
    allow_lower: bool,
    /// How long to wait for the brokers
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[derive(Debug, Args)]
struct DiffArgs {
    #[command(flatten)]
    brokers: BrokerArgs,
    /// End with 1 if anything differs
    #[arg(long)]
    exit_code: bool,
}

#[derive(Debug, Args)]
struct ApplyArgs {
    #[command(flatten)]
    brokers: BrokerArgs,
    /// Do it, instead of only saying what
    #[arg(long)]
    yes: bool,
    /// What the brokers have more of than is declared, partitions or a higher limit, is no failure: somebody has raised
    /// it. It stays, and is printed
    #[arg(long)]
    keep_higher: bool,
}

#[derive(Debug, Args)]
struct RenderArgs {
    #[command(flatten)]
    declared: DeclaredArgs,
    /// For whom
    #[arg(long, value_enum)]
    format: Format,
    /// The name of the Kafka resource, for --format strimzi
    #[arg(long, value_name = "NAME", required_if_eq("format", "strimzi"))]
    cluster: Option<String>,
    /// The version of the resources, for --format strimzi
    #[arg(long, value_enum, default_value_t = ApiVersion::V1beta2)]
    api_version: ApiVersion,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// KafkaTopic resources of Strimzi, for kubectl apply
    Strimzi,
    /// A shell script of kafka-topics.sh commands
    KafkaTopics,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ApiVersion {
    /// Strimzi before 1.0
    V1beta2,
    /// Strimzi 0.49 and later
    V1,
}

/// How long a topic may be shown without its configuration.
const HALF_MADE: Duration = Duration::from_secs(3);

/// Why the topics are not as declared.
#[derive(Debug, thiserror::Error)]
pub(super) enum TopicsError {
    #[error(transparent)]
    Declared(#[from] TopicError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("what cannot be done is said above; all else is as declared")]
    Obstacles,
    #[error(
        "after {0:?} the brokers still differ as said above, although they took the requests: a value that they \
         refuse, or this login may not alter configurations (kafka-acls.sh --operation AlterConfigs)"
    )]
    NotTaken(Duration),
}

pub(super) fn run(command: &TopicsCommand) -> Result<ExitCode, CliError> {
    match &command.action {
        Action::Diff(args) => with_runtime(diff(args)),
        Action::Apply(args) => with_runtime(apply(args)),
        Action::Render(args) => render(args).map(|()| ExitCode::SUCCESS),
    }
}

fn with_runtime(work: impl Future<Output = Result<ExitCode, CliError>>) -> Result<ExitCode, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)?;
    runtime.block_on(work)
}

async fn diff(args: &DiffArgs) -> Result<ExitCode, CliError> {
    let plan = Brokers::connect(&args.brokers)?.first_plan().await?;
    show(&plan)?;
    Ok(if args.exit_code && !plan.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn apply(args: &ApplyArgs) -> Result<ExitCode, CliError> {
    let brokers = Brokers::connect(&args.brokers)?;
    let plan = brokers.first_plan().await?;
    show(&plan)?;
    if !args.yes {
        if plan.has_changes() {
            say("nothing was changed; the same with --yes does it");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let has_changes = plan.has_changes();
    let plan = brokers.apply(plan).await?;
    let is_refused = if args.keep_higher { plan.lacks_something() } else { plan.has_obstacles() };
    if is_refused {
        return Err(TopicsError::Obstacles.into());
    }
    if has_changes {
        say("done; the brokers show it");
    }
    Ok(ExitCode::SUCCESS)
}

fn render(args: &RenderArgs) -> Result<(), CliError> {
    let settings = args.declared.config.load()?.settings;
    let topics = declared(&args.declared, &settings)?;
    let settings = settings.kafka;
    let prefix = &settings.topic_prefix;
    let text = match args.format {
        Format::KafkaTopics => topics::kafka_topics(&topics, prefix, &settings.brokers),
        Format::Strimzi => {
            let api = match args.api_version {
                ApiVersion::V1beta2 => StrimziApi::V1Beta2,
                ApiVersion::V1 => StrimziApi::V1,
            };
            topics::strimzi(&topics, prefix, args.cluster.as_deref().unwrap_or_default(), api)
        }
    };
    print(&mut io::stdout(), text.as_bytes())
}

fn declared(args: &DeclaredArgs, settings: &Settings) -> Result<Vec<Topic>, TopicsError> {
    let topics = match &args.dir {
        Some(folder) => topics::read_dir(folder)?,
        None => topics::embedded()?,
    };
    let scale = Scale { partitions: args.partitions, replicas: args.replicas };
    let topics = topics::with_delays(topics, &settings.retry.later);
    Ok(topics.into_iter().map(|topic| scale.apply(topic)).collect())
}

fn show(plan: &Plan) -> Result<(), CliError> {
    let end = if plan.is_empty() { "The topics are as declared.\n" } else { "" };
    print(&mut io::stdout(), format!("{plan}{end}").as_bytes())
}

/// The brokers, and what they should have.
struct Brokers {
    admin: Admin,
    declared: Vec<Topic>,
    prefix: String,
    allowed: Allowed,
    timeout: Duration,
}

impl Brokers {
    fn connect(args: &BrokerArgs) -> Result<Self, CliError> {
        let settings = args.declared.config.load()?.settings;
        let options = args.kafka.options(&settings.kafka)?;
        Ok(Brokers {
            admin: Admin::connect(&options, args.timeout).map_err(TopicsError::from)?,
            declared: declared(&args.declared, &settings)?,
            prefix: settings.kafka.topic_prefix,
            allowed: Allowed { repartition: args.allow_repartition, lower: args.allow_lower },
            timeout: args.timeout,
        })
    }

    /// The plan, before anything is done. A broker may show a topic that somebody makes at this moment before it has
    /// its configuration; where a right is missing, that stays so.
    async fn first_plan(&self) -> Result<Plan, TopicsError> {
        let started = Instant::now();
        loop {
            match self.plan().await {
                Err(TopicsError::Admin(AdminError::HiddenConfig(_))) if started.elapsed() < HALF_MADE => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                planned => return planned,
            }
        }
    }

    async fn plan(&self) -> Result<Plan, TopicsError> {
        let names = self.declared.iter().map(|topic| format!("{}{}", self.prefix, topic.name));
        let cluster = self.admin.cluster(&names.collect::<BTreeSet<_>>()).await?;
        Ok(topics::plan(&self.declared, &self.prefix, &cluster, self.allowed))
    }

    /// Does what the plan says until the brokers show it, and gives what is left.
    ///
    /// They show it a moment later than they take it. And somebody else may do the same at the same time, perhaps
    /// with other figures: every step may be done again, so it is.
    async fn apply(&self, mut plan: Plan) -> Result<Plan, TopicsError> {
        let started = Instant::now();
        while plan.has_changes() {
            if started.elapsed() > self.timeout {
                show(&plan).ok();
                return Err(TopicsError::NotTaken(self.timeout));
            }
            self.perform(&plan).await?;
            tokio::time::sleep(LOOK_AGAIN).await;
            plan = match self.plan().await {
                // A broker that has not heard of a new topic yet has no configuration of it.
                Err(TopicsError::Admin(AdminError::HiddenConfig(_))) if started.elapsed() < self.timeout => plan,
                looked => looked?,
            };
        }
        Ok(plan)
    }

    async fn perform(&self, plan: &Plan) -> Result<(), TopicsError> {
        let (mut create, mut add) = (Vec::new(), Vec::new());
        for difference in &plan.differences {
            let mut values = Vec::new();
            for change in &difference.changes {
                match change {
                    Change::Create => create.push((difference.name.as_str(), &difference.declared)),
                    Change::AddPartitions { .. } => {
                        add.push((difference.name.as_str(), difference.declared.partitions))
                    }
                    Change::SetConfig { name, to, .. } => values.push((name.as_str(), to.as_str())),
                }
            }
            if !values.is_empty() {
                self.admin.set_config(&difference.name, &values).await?;
            }
        }
        self.admin.create(&create).await?;
        self.admin.add_partitions(&add).await?;
        Ok(())
    }
}
