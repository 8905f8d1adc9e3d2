use super::*;

fn topic(settings: &[(&str, &str)]) -> Topic {
    let mut all: HashMap<String, String> = [
        ("cleanup.policy", "delete"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("min.insync.replicas", "2"),
        ("unclean.leader.election.enable", "false"),
        ("max.message.bytes", "1048588"),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect();
    for (name, value) in settings {
        all.insert((*name).to_owned(), (*value).to_owned());
    }
    Topic {
        id: Uuid::nil(),
        partitions: 1,
        replicas: 3,
        in_sync: 3,
        settings: Some(all),
    }
}

fn found(role: Role, topic: &Topic, wanted: Wanted) -> Vec<(Severity, String)> {
    judge("x", role, topic, wanted)
        .into_iter()
        .map(|finding| (finding.severity, finding.subject))
        .collect()
}

#[test]
fn a_topic_as_we_make_it_is_fine() {
    assert_eq!(found(Role::Log, &topic(&[]), Wanted::default()), []);
    let schemas = topic(&[("cleanup.policy", "compact"), ("retention.ms", "604800000")]);
    assert_eq!(found(Role::Schemas, &schemas, Wanted::default()), []);
}

#[test]
fn what_could_lose_records_blocks() {
    let day = Wanted {
        retention: Retention {
            age: Some(Duration::from_secs(86_400)),
            bytes: Some(1 << 30),
        },
        ..Wanted::default()
    };
    for (setting, value) in [
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("unclean.leader.election.enable", "true"),
        ("retention.ms", "3600000"),
        ("retention.bytes", "1048576"),
        ("max.message.bytes", "1000"),
        ("min.insync.replicas", "4"),
    ] {
        let subject = format!("x {setting}");
        assert_eq!(
            found(Role::Log, &topic(&[(setting, value)]), day),
            [(Severity::Blocking, subject)],
            "{setting}={value}"
        );
    }
    let mut two = topic(&[]);
    two.partitions = 2;
    assert_eq!(
        found(Role::Log, &two, day),
        [(Severity::Blocking, "x partitions".to_owned())]
    );
    let expiring = topic(&[("cleanup.policy", "delete"), ("retention.ms", "604800000")]);
    assert_eq!(
        found(Role::Schemas, &expiring, day),
        [(Severity::Blocking, "x cleanup.policy".to_owned())]
    );
}

#[test]
fn what_only_deserves_a_word_does_not_block() {
    let worst = |topic: &Topic| {
        judge("x", Role::Log, topic, Wanted::default())
            .into_iter()
            .map(|finding| finding.severity)
            .min()
    };
    let mut alone = topic(&[("min.insync.replicas", "1")]);
    (alone.replicas, alone.in_sync) = (1, 1);
    assert_eq!(worst(&alone), Some(Severity::Warning));
    let mut behind = topic(&[]);
    behind.in_sync = 2;
    assert_eq!(worst(&behind), Some(Severity::Warning));
    assert_eq!(
        worst(&topic(&[("max.message.bytes", "500000")])),
        Some(Severity::Warning)
    );
    assert_eq!(
        worst(&topic(&[("retention.ms", "604800000")])),
        Some(Severity::Info)
    );
    let mut hidden = topic(&[]);
    hidden.settings = None;
    assert_eq!(worst(&hidden), Some(Severity::Warning));
}
