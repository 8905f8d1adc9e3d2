//! The configuration file: the options' names, `${NAME}` for what the environment knows, and one or several pipelines.
//!
//! What stands at the top holds for every pipeline; what a pipeline says itself wins, and the command line wins over both.

use std::{collections::BTreeMap, path::Path};

use binferry_transport::kafka::KafkaAddress;
use toml::{Table, Value};

use super::{DEFAULT_LOG, Options, example};
use crate::failure::Failure;

const PIPELINES: &str = "pipelines";
/// Names that are at least so much alike may have been meant.
const ALIKE: f64 = 0.75;

/// Those that have no value are filled in from another's; the others are the caller's. An option that is in neither list does not compile.
macro_rules! fill {
    ($into:ident, $from:ident, [$($field:ident),+ $(,)?], others: [$($other:ident),+]) => {
        let Options { $($field,)+ $($other,)+ config: _, pipeline: _ } = $from;
        $(if $into.$field.is_none() { $into.$field = $field; })+
    };
}

impl Options {
    /// The options of the configuration file are filled in where the command line has none.
    pub fn with_file(mut self) -> Result<Self, Failure> {
        let Some(path) = self.config.clone() else {
            return match self.pipeline {
                Some(_) => Err(Failure::usage(
                    "--pipeline chooses one of a configuration file's pipelines: --config is missing",
                )),
                None => Ok(self),
            };
        };
        let file = read(&path)
            .and_then(|text| chosen(&text, self.pipeline.as_deref(), &environment))
            .map_err(|problem| Failure::usage(format!("--config {}: {problem}", path.display())))?;
        fill!(
            self,
            file,
            [
                source,
                target,
                log,
                kafka_config,
                kafka_replicas,
                source_password_file,
                target_password_file,
                tables,
                from,
                until,
                gtid,
                ddl,
                compare,
                allow_triggers,
                into,
                over,
                server_id,
                site,
                stream,
                keep_bytes,
                keep_age,
                retry_for,
                snapshot_rate,
                snapshot_readers,
                snapshot_max_lag,
                snapshot_max_threads,
                workers,
                remove,
                offset,
                timeout,
                state,
                format,
                http,
                stall_after,
                log_format,
            ],
            others: [json, repair, dry_run, kafka, on_conflict]
        );
        self.json |= json;
        self.repair |= repair;
        self.dry_run |= dry_run;
        // The last one of a name wins.
        self.kafka.splice(0..0, kafka);
        self.on_conflict.splice(0..0, on_conflict);
        Ok(self)
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The options of the pipeline that is meant.
fn chosen(
    text: &str,
    wanted: Option<&str>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Options, String> {
    let mut shared: Table = text
        .parse()
        .map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
    let pipelines = pipelines(&mut shared)?;
    known(&shared, "")?;
    for (name, pipeline) in &pipelines {
        known(pipeline, &format!(" in [{PIPELINES}.{name}]"))?;
    }
    one_log_each(&shared, &pipelines, environment)?;
    let names = || pipelines.keys().cloned().collect::<Vec<_>>().join(", ");
    let own = match (wanted, pipelines.len()) {
        (Some(name), 0) => {
            return Err(format!(
                "there is no [{PIPELINES}.{name}]; the file is about one pipeline without a name"
            ));
        }
        (Some(name), _) => pipelines
            .get(name)
            .ok_or_else(|| format!("there is no [{PIPELINES}.{name}], but: {}", names()))?,
        (None, 0) => &Table::new(),
        (None, 1) => pipelines.values().next().unwrap_or(&shared),
        (None, _) => {
            return Err(format!(
                "it has several pipelines; choose one by --pipeline: {}",
                names()
            ));
        }
    };
    let mut all = shared.clone();
    all.extend(own.clone());
    for (key, value) in &mut all {
        substitute(key, value, environment)?;
    }
    all.try_into()
        .map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())
}

fn pipelines(file: &mut Table) -> Result<BTreeMap<String, Table>, String> {
    let Some(value) = file.remove(PIPELINES) else {
        return Ok(BTreeMap::new());
    };
    let form = || format!("{PIPELINES}: expected tables, [{PIPELINES}.NAME] each");
    let Value::Table(tables) = value else {
        return Err(form());
    };
    let tables = tables.into_iter().map(|(name, value)| match value {
        Value::Table(table) => Ok((name, table)),
        _ => Err(form()),
    });
    tables.collect()
}

/// Refuses names that are no options.
fn known(table: &Table, place: &str) -> Result<(), String> {
    let names = example::names();
    let Some(key) = table.keys().find(|key| !names.contains(key.as_str())) else {
        return Ok(());
    };
    let nearest = names
        .iter()
        .map(|name| (strsim::jaro_winkler(name, key), name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let meant = match nearest {
        Some((_, name)) => format!("; is `{name}` meant?"),
        None => String::new(),
    };
    Err(format!(
        "unknown key `{key}`{place}{meant} (binferry config example shows all of them)"
    ))
}

/// Two captures into one directory: the second one would be refused when it starts. Appliers share a log as they like.
fn one_log_each(
    shared: &Table,
    pipelines: &BTreeMap<String, Table>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let mut logs: BTreeMap<String, &str> = BTreeMap::new();
    for (name, pipeline) in pipelines {
        let said = |key| pipeline.get(key).or_else(|| shared.get(key));
        if said("source").is_none() {
            continue;
        }
        let log = said("log").and_then(Value::as_str).unwrap_or(DEFAULT_LOG);
        // A pipeline that is not the one to run may lack its variables.
        let log = substituted("log", log, environment).unwrap_or_else(|_| log.to_owned());
        let log = log.trim_end_matches('/').to_owned();
        if KafkaAddress::is_one(&log) {
            continue;
        }
        if let Some(other) = logs.insert(log.clone(), name) {
            return Err(format!(
                "pipelines {other} and {name} have the same log {log}; each needs its own"
            ));
        }
    }
    Ok(())
}

fn substitute(
    key: &str,
    value: &mut Value,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(), String> {
    match value {
        Value::String(text) => *text = substituted(key, text, environment)?,
        Value::Array(values) => {
            for value in values {
                substitute(key, value, environment)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// `${NAME}` is what the environment says; `$${` is `${`.
fn substituted(
    key: &str,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let (mut done, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(literal) = before.strip_suffix('$') {
            done = done + literal + "${";
            rest = after;
            continue;
        }
        let (name, behind) = after
            .split_once('}')
            .ok_or_else(|| format!("{key}: a `${{` without its `}}`"))?;
        let value = environment(name)
            .ok_or_else(|| format!("{key}: the environment has no variable {name}"))?;
        done = done + before + &value;
        rest = behind;
    }
    Ok(done + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known_environment(name: &str) -> Option<String> {
        (name == "PASSWORD").then(|| "a$b${c".to_owned())
    }

    fn options(text: &str, pipeline: Option<&str>) -> Result<Options, String> {
        chosen(text, pipeline, &known_environment)
    }

    const TWO: &str = "workers = 2\nsource = 'mysql://u@h/'\ntables = 'shop.*'\n\
        [pipelines.eu]\nlog = '/logs/eu'\nworkers = 8\n[pipelines.us]\nlog = '/logs/us'\n";

    #[test]
    fn a_pipeline_wins_over_what_stands_at_the_top() {
        let eu = options(TWO, Some("eu")).unwrap();
        assert_eq!((eu.workers, eu.log.as_deref()), (Some(8), Some("/logs/eu")));
        let us = options(TWO, Some("us")).unwrap();
        assert_eq!(us.workers, Some(2));
        assert_eq!(us.tables.as_deref(), Some("shop.*"));
        let only = options("[pipelines.eu]\nlog = 'eu'", None).unwrap();
        assert_eq!(only.log.as_deref(), Some("eu"));
        assert_eq!(
            options("log = 'x'", None).unwrap().log.as_deref(),
            Some("x")
        );
    }

    #[test]
    fn a_pipeline_must_be_chosen_and_there() {
        assert!(options(TWO, None).unwrap_err().contains("eu, us"));
        assert!(options(TWO, Some("asia")).unwrap_err().contains("eu, us"));
        assert!(options("log = 'x'", Some("eu")).is_err());
        assert!(options("pipelines = 3", None).is_err());
    }

    #[test]
    fn two_pipelines_on_one_log_are_refused() {
        let text = TWO.replace("/logs/us", "/logs/eu/");
        let said = options(&text, Some("eu")).unwrap_err();
        assert!(
            said.contains("eu and us") && said.contains("/logs/eu"),
            "{said}"
        );
        let both = |text: &str| TWO.replace("log = '/logs", text);
        let text = format!("log = 'same'\n{}", both("site = '/x"));
        assert!(options(&text, Some("eu")).unwrap_err().contains("same"));
        let said = options(&both("site = '/x"), Some("eu")).unwrap_err();
        assert!(said.contains(DEFAULT_LOG), "{said}");
        // Two that only apply, and sites of one log in Kafka.
        let text = text.replace("source = 'mysql://u@h/'\n", "");
        assert!(options(&text, Some("eu")).is_ok());
        let text = format!("log = 'kafka://k:9092/l'\n{}", both("site = '/x"));
        assert!(options(&text, Some("eu")).is_ok());
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest_name() {
        let said = options("sorce = 'x'", None).unwrap_err();
        assert!(
            said.contains("`sorce`") && said.contains("`source`"),
            "{said}"
        );
        let said = options("[pipelines.eu]\nworker = 3", None).unwrap_err();
        assert!(
            said.contains("[pipelines.eu]") && said.contains("`workers`"),
            "{said}"
        );
        let said = options("qqq = 3", None).unwrap_err();
        assert!(said.contains("`qqq`") && !said.contains("meant"), "{said}");
        // What only the command line can say.
        assert!(options("config = 'x'", None).is_err());
    }

    #[test]
    fn the_environment_is_filled_in() {
        let given = options("source = 'mysql://u:${PASSWORD}@h/$${x}'", None).unwrap();
        assert_eq!(given.source.as_deref(), Some("mysql://u:a$b${c@h/${x}"));
        let given = options("kafka = ['sasl.password=${PASSWORD}']", None).unwrap();
        assert_eq!(given.kafka, ["sasl.password=a$b${c"]);
        let said = options("target = 'mysql://u:${NOT_THERE}@h/'", None).unwrap_err();
        assert!(
            said.contains("target") && said.contains("NOT_THERE"),
            "{said}"
        );
        assert!(options("target = '${PASSWORD'", None).is_err());
    }

    #[test]
    fn a_wrong_type_names_its_key() {
        let said = options("workers = 'four'", None).unwrap_err();
        assert!(said.contains("workers"), "{said}");
    }
}
