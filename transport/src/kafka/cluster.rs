//! Asking the cluster: one client for all questions, patience for what passes, and plain words for what doesn't.
//!
//! librdkafka reports why it can't connect beside the calls, to its context. `Trouble` keeps the newest of these reports, so that a call
//! that ran out of time can say why.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBuilder};
use rdkafka::{
    ClientContext,
    admin::AdminClient,
    client::Client,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{DeliveryResult, ProducerContext},
};

use super::{
    address::KafkaAddress,
    properties::{self, Properties},
    topic_id::topic_id,
};
use crate::error::LogError;

/// A question that isn't answered by then is asked again.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// A topic that is missing for so long is gone: a broker that restarts does not know all topics at once.
pub(super) const GONE: Duration = Duration::from_secs(10);
/// More than an attempt to connect to a few brokers makes.
pub(super) const REPORTS: usize = 100;
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What to make of an error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It passes: brokers restart, leaders move, replicas catch up.
    Passing,
    /// Asking again would give the same answer until somebody changes an ACL or a password.
    Refused,
    /// There is no such topic (or not yet, where it was made a moment ago).
    Missing,
    /// The offset is not there.
    OutOfRange,
    /// Unknown means stop.
    Lasting,
}

pub(super) fn verdict(code: RDKafkaErrorCode) -> Verdict {
    use RDKafkaErrorCode as E;
    match code {
        E::BrokerTransportFailure
        | E::AllBrokersDown
        | E::Resolve
        | E::OperationTimedOut
        | E::RequestTimedOut
        | E::TimedOutQueue
        | E::ISRInsufficient
        | E::SSL
        | E::Authentication
        | E::WaitCache
        | E::Retry
        | E::Interrupted
        | E::DestroyBroker
        | E::UnknownBroker
        | E::LeaderNotAvailable
        | E::NotLeaderForPartition
        | E::BrokerNotAvailable
        | E::ReplicaNotAvailable
        | E::NetworkException
        | E::NotEnoughReplicas
        | E::NotEnoughReplicasAfterAppend
        | E::NotController
        | E::KafkaStorageError
        | E::ListenerNotFound
        | E::FencedLeaderEpoch
        | E::UnknownLeaderEpoch
        | E::OffsetNotAvailable
        | E::CoordinatorLoadInProgress
        | E::CoordinatorNotAvailable
        | E::NotCoordinator
        | E::PreferredLeaderNotAvailable
        | E::EligibleLeadersNotAvailable
        | E::StaleBrokerEpoch
        | E::ThrottlingQuotaExceeded
        | E::RebootstrapRequired
        | E::FetchSessionIdNotFound
        | E::InvalidFetchSessionEpoch => Verdict::Passing,
        E::TopicAuthorizationFailed
        | E::ClusterAuthorizationFailed
        | E::SaslAuthenticationFailed
        | E::UnsupportedSASLMechanism
        | E::IllegalSASLState => Verdict::Refused,
        E::UnknownTopicOrPartition | E::UnknownTopic | E::UnknownPartition | E::UnknownTopicId => {
            Verdict::Missing
        }
        E::OffsetOutOfRange | E::AutoOffsetReset | E::LogTruncation => Verdict::OutOfRange,
        _ => Verdict::Lasting,
    }
}

/// The code within an error, for those that come from a broker or a connection.
pub(super) fn code_of(error: &KafkaError) -> RDKafkaErrorCode {
    match error {
        // The binding's own answer leaves these out.
        KafkaError::AdminOp(code)
        | KafkaError::OffsetFetch(code)
        | KafkaError::MetadataFetch(code)
        | KafkaError::SetPartitionOffset(code) => *code,
        other => other.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
    }
}

#[derive(Debug, Clone)]
struct Report {
    code: RDKafkaErrorCode,
    reason: String,
    at: Instant,
}

/// The newest report of what is wrong with the connections.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Option<Report>>);

impl Trouble {
    fn report(&self, code: RDKafkaErrorCode, reason: &str) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers are down" comes last and says least.
        let says_more = code != RDKafkaErrorCode::AllBrokersDown
            || newest
                .as_ref()
                .is_none_or(|old| old.at.elapsed() > LONGEST_PAUSE * 5);
        if says_more {
            *newest = Some(Report {
                code,
                reason: reason.to_owned(),
                at: Instant::now(),
            });
        }
    }

    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// For people.
    pub(super) fn reason(&self) -> Option<String> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().map(|report| report.reason.clone())
    }

    /// Waiting won't mend it: the password is wrong, or the certificate.
    fn refusal(&self) -> Option<String> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let report = newest.as_ref()?;
        let certificate = report.code == RDKafkaErrorCode::SSL && report.reason.contains("verif");
        (report.code == RDKafkaErrorCode::Authentication || certificate)
            .then(|| report.reason.clone())
    }
}

/// What happens to a producer's records.
pub(super) trait Deliveries: Send + Sync + 'static {
    fn delivered(&self, result: &DeliveryResult<'_>, ordinal: usize);
    /// The producer can't go on.
    fn failed(&self);
}

/// For clients that produce nothing.
pub(super) struct Nobody;

impl Deliveries for Nobody {
    fn delivered(&self, _: &DeliveryResult<'_>, _: usize) {}
    fn failed(&self) {}
}

/// Where librdkafka reports to.
pub(super) struct Context<D = Nobody> {
    pub trouble: Arc<Trouble>,
    pub deliveries: Arc<D>,
}

impl Context {
    pub(super) fn new(trouble: Arc<Trouble>) -> Self {
        Self {
            trouble,
            deliveries: Arc::new(Nobody),
        }
    }
}

impl<D: Deliveries> ClientContext for Context<D> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters comes as an error too; these lines repeat for every broker and every attempt.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(facility, "{message}");
            }
            _ => tracing::debug!(facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = code_of(&error);
        tracing::debug!(?code, "{reason}");
        if code == RDKafkaErrorCode::Fatal {
            self.deliveries.failed();
        }
        self.trouble.report(code, reason);
    }
}

impl<D: Deliveries> ConsumerContext for Context<D> {}

impl<D: Deliveries> ProducerContext for Context<D> {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ordinal: usize) {
        self.deliveries.delivered(result, ordinal);
    }
}

pub(super) struct Cluster {
    pub address: KafkaAddress,
    pub properties: Properties,
    /// How long an unreachable cluster is asked again.
    pub patience: Duration,
    /// In no group; the binding hands this client's reports out when it is polled.
    asker: BaseConsumer<Context>,
    trouble: Arc<Trouble>,
    /// The shortest answer so far, in microseconds.
    round_trip: AtomicU64,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("address", &self.address)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    pub(super) fn new(
        address: KafkaAddress,
        properties: Properties,
        patience: Duration,
    ) -> Result<Self, LogError> {
        let trouble = Arc::new(Trouble::default());
        let asker = BaseConsumer::from_config_and_context(
            &properties.client(&address),
            Context::new(trouble.clone()),
        )
        .map_err(properties::from_client)?;
        Ok(Self {
            address,
            properties,
            patience,
            asker,
            trouble,
            round_trip: AtomicU64::new(u64::MAX),
        })
    }

    pub(super) fn name(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn client(&self) -> &Client<Context> {
        self.asker.client()
    }

    /// About the time that a request takes; zero when none has been answered yet.
    pub(super) fn round_trip(&self) -> Duration {
        match self.round_trip.load(Ordering::Relaxed) {
            u64::MAX => Duration::ZERO,
            micros => Duration::from_micros(micros),
        }
    }

    /// The first offset of a topic's one partition, and the one after the last.
    pub(super) fn bounds(&self, topic: &str) -> Result<(i64, i64), RDKafkaErrorCode> {
        let asked = Instant::now();
        let watermarks = self.client().fetch_watermarks(topic, 0, ANSWER);
        let answer = watermarks.map_err(|error| code_of(&error))?;
        // Two requests, which go out together.
        let micros = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.round_trip.fetch_min(micros, Ordering::Relaxed);
        Ok(answer)
    }

    /// For the few questions that only such a client can ask.
    pub(super) fn admin(&self) -> Result<AdminClient<Context>, LogError> {
        let config = self.properties.client(&self.address);
        let context = Context::new(self.trouble.clone());
        Ok(AdminClient::from_config_and_context(&config, context)
            .map_err(properties::from_client)?)
    }

    /// Takes the reports of what is wrong with the connections: they would pile up.
    pub(super) fn listen(&self) {
        // A poll takes one report; whether there was one can't be told from its answer, as log lines don't come out.
        for _ in 0..REPORTS {
            self.asker.poll(Duration::ZERO);
        }
    }

    /// Asks until there is an answer that lasts, or patience ends. `ask` blocks, for about `ANSWER`. That a topic is missing is believed
    /// after a while only.
    pub(super) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        doing: &'static str,
        ask: impl Fn(&Self) -> Result<T, RDKafkaErrorCode> + Clone + Send + 'static,
    ) -> Result<T, LogError> {
        let begun = Instant::now();
        let mut pauses = pauses();
        let mut told = false;
        let mut missing = None;
        loop {
            let (this, ask) = (self.clone(), ask.clone());
            let answer = tokio::task::spawn_blocking(move || {
                let answer = ask(&this);
                this.listen();
                answer
            })
            .await
            .map_err(|error| LogError::Task {
                reason: error.to_string(),
            })?;
            let code = match answer {
                Ok(answer) => {
                    self.trouble.forget();
                    return Ok(answer);
                }
                Err(code) => code,
            };
            match verdict(code) {
                Verdict::Passing => missing = None,
                Verdict::Missing if missing.get_or_insert_with(Instant::now).elapsed() < GONE => {}
                // The library says so too of what it does not know while no broker answers.
                Verdict::Missing => match self.missing().await? {
                    Some(topic) => {
                        let log = self.name();
                        return Err(LogError::TopicMissing { log, topic });
                    }
                    None => missing = None,
                },
                _ => return Err(self.error(doing, code)),
            }
            if let Some(reason) = self.trouble.refusal() {
                return Err(LogError::Refused {
                    log: self.name(),
                    doing,
                    reason,
                });
            }
            if begun.elapsed() >= self.patience {
                return Err(self.unreachable(doing, code));
            }
            if !told {
                told = true;
                tracing::warn!(
                    log = self.name(),
                    error = %self.unreachable(doing, code),
                    "the log is out of reach; trying again"
                );
            }
            let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
            tokio::time::sleep(pause.min(self.patience.saturating_sub(begun.elapsed()))).await;
        }
    }

    /// The topic of ours that the brokers say is not there.
    async fn missing(self: &Arc<Self>) -> Result<Option<String>, LogError> {
        let this = self.clone();
        let found = tokio::task::spawn_blocking(move || {
            let topics = [this.address.log_topic(), this.address.schemas_topic()];
            let found = topics.into_iter().find(|topic| {
                topic_id(this.client(), topic, ANSWER)
                    .is_err_and(|code| verdict(code) == Verdict::Missing)
            });
            this.listen();
            found
        });
        found.await.map_err(|error| LogError::Task {
            reason: error.to_string(),
        })
    }

    pub(super) fn unreachable(&self, doing: &'static str, code: RDKafkaErrorCode) -> LogError {
        LogError::Unreachable {
            log: self.name(),
            doing,
            reason: self.trouble.reason().unwrap_or_else(|| code.to_string()),
        }
    }

    /// The error that a code means.
    pub(super) fn error(&self, doing: &'static str, code: RDKafkaErrorCode) -> LogError {
        let log = self.name();
        match verdict(code) {
            Verdict::Passing => self.unreachable(doing, code),
            Verdict::Refused => LogError::Refused {
                log,
                doing,
                reason: code.to_string(),
            },
            Verdict::Missing => LogError::TopicMissing {
                log,
                topic: self.address.log_topic(),
            },
            Verdict::OutOfRange | Verdict::Lasting => LogError::Kafka {
                log,
                doing,
                reason: code.to_string(),
            },
        }
    }
}

pub(super) fn pauses() -> backon::ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(SHORTEST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}
