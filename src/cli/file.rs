//! The configuration file.

use super::Options;
use crate::failure::Failure;

macro_rules! fill {
    ($into:ident, $from:ident, $($field:ident),+ $(,)?) => {
        $(if $into.$field.is_none() { $into.$field = $from.$field; })+
    };
}

impl Options {
    /// The options of the configuration file are filled in where the command line has none.
    pub fn with_file(mut self) -> Result<Self, Failure> {
        let Some(path) = self.config.clone() else {
            return Ok(self);
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Failure::usage(format!("--config {}: {e}", path.display())))?;
        let file: Options = toml::from_str(&text).map_err(|e| {
            Failure::usage(format!(
                "--config {}: {}",
                path.display(),
                e.to_string().trim_end()
            ))
        })?;
        fill!(
            self,
            file,
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
            format,
            http,
            stall_after,
            log_format,
        );
        self.json |= file.json;
        // The last one of a name wins.
        self.kafka.splice(0..0, file.kafka);
        self.on_conflict.splice(0..0, file.on_conflict);
        Ok(self)
    }
}
