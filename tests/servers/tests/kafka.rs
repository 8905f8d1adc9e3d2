//! The Kafka clusters themselves, on whatever way works here.

use std::time::Duration;

use binferry_servers::{Kafka, kafka};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

/// What hangs is given up after this long; nothing is asserted about time.
const LONG: Duration = Duration::from_secs(60);

/// Keeps how a record fared, in the channel that came with it.
struct Deliveries;

type Delivery = std::sync::mpsc::Sender<KafkaResult<i64>>;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, sender: Box<Delivery>) {
        let outcome = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.clone()),
        };
        // Who does not wait for it any more does not want it.
        let _ = sender.send(outcome);
    }
}

fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500");
    config
}

struct Writer(ThreadedProducer<Deliveries>);

impl Writer {
    fn new(config: &ClientConfig) -> Self {
        Writer(config.create_with_context(Deliveries).unwrap())
    }

    fn send(&self, topic: &str, value: &str) -> std::sync::mpsc::Receiver<KafkaResult<i64>> {
        let (sender, outcome) = std::sync::mpsc::channel();
        let record: BaseRecord<'_, (), str, _> =
            BaseRecord::with_opaque_to(topic, Box::new(sender)).payload(value);
        self.0.send(record).map_err(|(error, _)| error).unwrap();
        outcome
    }

    fn write(&self, topic: &str, value: &str) -> KafkaResult<i64> {
        self.send(topic, value).recv_timeout(LONG).unwrap()
    }
}

/// All values of a topic's partition 0, from the start.
fn values(kafka: &Kafka, topic: &str) -> Vec<String> {
    let (first, end) = kafka.offsets(topic).unwrap();
    let consumer: BaseConsumer = client(&kafka.bootstrap())
        .set("group.id", "unused")
        .create()
        .unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Offset(first))
        .unwrap();
    consumer.assign(&from).unwrap();
    let mut values = Vec::new();
    while (values.len() as i64) < end - first {
        // Of nodes that are dead the consumer tells, and goes on.
        if let Ok(message) = consumer.poll(LONG).expect("a record") {
            values.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
        }
    }
    values
}

fn code(result: KafkaResult<i64>) -> RDKafkaErrorCode {
    match result.unwrap_err() {
        KafkaError::MessageProduction(code) => code,
        other => panic!("{other}"),
    }
}

#[test]
fn topics_and_their_records() {
    let kafka = kafka().unwrap();
    let topic = kafka.topic_name("records");
    kafka
        .create_topic(&topic, 1, 1, &[("retention.ms", "-1")])
        .unwrap();
    assert!(kafka.topics().unwrap().contains(&topic));
    let writer = Writer::new(&client(&kafka.bootstrap()));
    for value in ["a", "b", "c"] {
        writer.write(&topic, value).unwrap();
    }
    assert_eq!(values(kafka, &topic), ["a", "b", "c"]);
    kafka.delete_records(&topic, 2).unwrap();
    assert_eq!(kafka.offsets(&topic).unwrap(), (2, 3));
    assert_eq!(values(kafka, &topic), ["c"]);
    kafka
        .alter_topic(&topic, &[("cleanup.policy", "compact")])
        .unwrap();
    let settings = [("cleanup.policy", "compact"), ("retention.ms", "-1")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(kafka.topic_settings(&topic).unwrap(), settings);
    kafka.delete_topic(&topic).unwrap();
    assert!(!kafka.topics().unwrap().contains(&topic));
    let again = kafka.create_topic(&topic, 1, 1, &[]);
    again.unwrap();
    assert_eq!(kafka.offsets(&topic).unwrap(), (0, 0));
    let error = kafka.create_topic(&topic, 1, 1, &[]).unwrap_err();
    assert!(error.to_string().contains("TopicAlreadyExists"), "{error}");
    kafka.delete_topic(&topic).unwrap();
}

#[test]
fn killed_paused_and_started_again_with_its_records() {
    let kafka = Kafka::builder()
        .property("log.retention.check.interval.ms", "500")
        .start()
        .unwrap();
    kafka.create_topic("t", 1, 1, &[]).unwrap();
    let writer = Writer::new(&client(&kafka.bootstrap()));
    assert_eq!(writer.write("t", "first").unwrap(), 0);
    kafka.kill(0).unwrap();
    assert_eq!(kafka.pid(0), None);
    assert!(kafka.resume(0).is_err());
    let waiting = writer.send("t", "second");
    kafka.start_again(0).unwrap();
    assert_eq!(waiting.recv_timeout(LONG).unwrap().unwrap(), 1);
    assert_eq!(values(&kafka, "t"), ["first", "second"]);
    kafka.pause(0).unwrap();
    let waiting = writer.send("t", "third");
    let outcome = waiting.recv_timeout(Duration::from_secs(1));
    assert!(outcome.is_err(), "{outcome:?}");
    kafka.resume(0).unwrap();
    assert_eq!(waiting.recv_timeout(LONG).unwrap().unwrap(), 2);
    kafka.stop(0).unwrap();
    kafka.start_again(0).unwrap();
    assert_eq!(values(&kafka, "t"), ["first", "second", "third"]);
    assert!(kafka.peak_memory(0).unwrap() > 50 << 20);
    let error = kafka.kill(1).unwrap_err().to_string();
    assert!(error.contains("no node 1"), "{error}");
}

#[test]
fn a_full_disk_ends_the_broker() {
    let kafka = Kafka::start().unwrap();
    kafka.create_topic("t", 1, 1, &[]).unwrap();
    let writer = Writer::new(&client(&kafka.bootstrap()));
    writer.write("t", "a").unwrap();
    kafka.fill_disk(0).unwrap();
    let waiting = writer.send("t", "b");
    kafka.wait_for_end(0).unwrap();
    kafka.start_again(0).unwrap();
    assert_eq!(waiting.recv_timeout(LONG).unwrap().unwrap(), 1);
    assert_eq!(values(&kafka, "t"), ["a", "b"]);
}

#[test]
fn the_leader_of_three_dies() {
    let kafka = Kafka::builder().brokers(3).start().unwrap();
    kafka
        .create_topic("t", 1, 3, &[("min.insync.replicas", "2")])
        .unwrap();
    let writer = Writer::new(client(&kafka.bootstrap()).set("acks", "all"));
    writer.write("t", "three").unwrap();
    let leader = kafka.leader("t").unwrap();
    kafka.kill(leader).unwrap();
    writer.write("t", "two").unwrap();
    assert_ne!(kafka.leader("t").unwrap(), leader);
    assert_eq!(values(&kafka, "t"), ["three", "two"]);
    kafka.start_again(leader).unwrap();
    writer.write("t", "three again").unwrap();
    assert_eq!(values(&kafka, "t"), ["three", "two", "three again"]);
}

/// The record is there, and the client does not know: one that does not retry says that it failed, one that retries without
/// idempotence writes it twice, and one with idempotence once.
#[test]
fn an_acknowledgement_that_is_lost_and_other_faults_of_networks() {
    let kafka = Kafka::builder().proxied().start().unwrap();
    let bootstrap = kafka.proxied_bootstrap().unwrap();
    let proxy = kafka.proxy(0).unwrap();
    let cases = [
        ("no-retry", "retries", "0", 1),
        ("retry", "enable.idempotence", "false", 2),
        ("once", "enable.idempotence", "true", 1),
    ];
    for (lost, (topic, key, value, times)) in cases.into_iter().enumerate() {
        kafka.create_topic(topic, 1, 1, &[]).unwrap();
        let writer = Writer::new(client(&bootstrap).set(key, value));
        writer.write(topic, "seen").unwrap();
        proxy.lose_next_acknowledgement();
        let outcome = writer.write(topic, "unseen");
        assert_eq!(outcome.is_err(), topic == "no-retry", "{outcome:?}");
        assert_eq!(proxy.acknowledgements_lost(), lost as u64 + 1);
        let written = values(&kafka, topic);
        let mut expected = vec!["seen"];
        expected.resize(1 + times, "unseen");
        assert_eq!(written, expected, "{topic}");
    }
    cut_stalled_and_refused(&kafka);
}

/// Part of the test above, for its cluster's sake.
fn cut_stalled_and_refused(kafka: &Kafka) {
    kafka.create_topic("t", 1, 1, &[]).unwrap();
    let proxy = kafka.proxy(0).unwrap();
    let writer = Writer::new(&client(&kafka.proxied_bootstrap().unwrap()));
    writer.write("t", "a").unwrap();
    proxy.stall(true);
    let waiting = writer.send("t", "b");
    let outcome = waiting.recv_timeout(Duration::from_secs(1));
    assert!(outcome.is_err(), "{outcome:?}");
    proxy.stall(false);
    assert_eq!(waiting.recv_timeout(LONG).unwrap().unwrap(), 1);
    let before = proxy.accepted();
    proxy.refuse(true);
    proxy.cut();
    let waiting = writer.send("t", "c");
    proxy.refuse(false);
    assert_eq!(waiting.recv_timeout(LONG).unwrap().unwrap(), 2);
    assert!(proxy.accepted() > before);
}

#[test]
fn users_log_in_over_tls() {
    let kafka = Kafka::builder()
        .secure("alice", "correct horse")
        .authorizer()
        .start()
        .unwrap();
    kafka.create_topic("t", 1, 1, &[]).unwrap();
    Writer::new(&client(&kafka.bootstrap()))
        .write("t", "a")
        .unwrap();
    let login = |password: &str| {
        let mut config = client(&kafka.secure_bootstrap().unwrap());
        config
            .set("security.protocol", "SASL_SSL")
            .set("sasl.mechanism", "SCRAM-SHA-256")
            .set("sasl.username", "alice")
            .set("sasl.password", password)
            .set("ssl.ca.location", kafka.ca().unwrap().to_str().unwrap());
        config
    };
    let writer = Writer::new(&login("correct horse"));
    let refused = code(writer.write("t", "not hers"));
    assert_eq!(refused, RDKafkaErrorCode::TopicAuthorizationFailed);
    kafka.allow("alice", &["Write", "Describe"], "t").unwrap();
    // The client has kept the refusal in mind.
    let writer = Writer::new(&login("correct horse"));
    writer.write("t", "b").unwrap();
    let stranger = Writer::new(login("wrong").set("message.timeout.ms", "3000"));
    assert!(stranger.write("t", "c").is_err());
    assert_eq!(values(&kafka, "t"), ["a", "b"]);
}
