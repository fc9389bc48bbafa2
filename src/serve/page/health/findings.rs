//! What there is to say of a store and of an exporter, and what to do about it.

use std::time::{Duration, SystemTime};

use crate::exporter::{BreakerState, ExporterStatus};
use crate::serve::human::{bytes, count, thousands};
use crate::store::{Health, SCHEMA_VERSION};

/// How long documents may wait for their embedding: one core embeds some 220 a second.
const EMBEDDED_WITHIN: Duration = Duration::from_secs(600);
/// Partitions are made for today and the next three days.
const DAYS_AHEAD: u64 = 3;

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Good,
    /// Nothing is lost, but somebody has to look.
    Attention,
    Bad,
}

/// A part of the whole.
#[derive(Debug, PartialEq)]
pub(super) struct Finding {
    pub state: State,
    pub what: &'static str,
    pub shown: String,
    /// What to do.
    pub todo: Option<&'static str>,
}

impl Finding {
    fn good(what: &'static str, shown: impl Into<String>) -> Self {
        Finding { state: State::Good, what, shown: shown.into(), todo: None }
    }

    fn attention(what: &'static str, shown: impl Into<String>, todo: &'static str) -> Self {
        Finding { state: State::Attention, what, shown: shown.into(), todo: Some(todo) }
    }

    fn bad(what: &'static str, shown: impl Into<String>, todo: &'static str) -> Self {
        Finding { state: State::Bad, what, shown: shown.into(), todo: Some(todo) }
    }
}

/// Of the store; as far as the look came.
pub(super) fn of_store(health: &Health, target: &str, schema: &str, now: SystemTime) -> Vec<Finding> {
    let error = health.error.clone().unwrap_or_default();
    let Some(version) = &health.server_version else {
        let todo = "See whether PostgreSQL runs and can be reached from here, and whether OTEL_STORAGE_CONNECTION_STRING \
                    leads to it. Until then exporters keep spans in their memory and spools.";
        return vec![Finding::bad("Database", error, todo)];
    };
    let server = format!("PostgreSQL {version} at {target}");
    let mut found = vec![if health.read_only == Some(true) && health.healthy {
        Finding::good("Database", format!("{server}, which takes no writes and is only searched here"))
    } else if health.read_only == Some(true) {
        let todo = "Where it is a standby, name the primary in the connection string, too. Otherwise see \
                    default_transaction_read_only.";
        Finding::bad("Database", format!("{server} takes no writes"), todo)
    } else {
        Finding::good("Database", server)
    }];
    let name = format!("schema \"{schema}\"");
    let pgvector = health.pgvector_version.as_ref();
    match health.schema_version {
        version if error.is_empty() || version == SCHEMA_VERSION && health.read_only == Some(true) => {
            let pgvector = pgvector.map_or("unknown", |version| version);
            found.push(Finding::good("Schema", format!("{name}, version {version}; pgvector {pgvector}")));
        }
        SCHEMA_VERSION => {
            let todo = "The message says what is missing. The server's log has what came before.";
            found.push(Finding::bad("Schema", error, todo));
            return found;
        }
        _ => {
            let todo = "Run what the message names, as the schema's owner.";
            found.push(Finding::bad("Schema", error, todo));
            return found;
        }
    }
    found.push(embeddings(health, now));
    found.extend(partitions(health));
    found
}

fn embeddings(health: &Health, now: SystemTime) -> Finding {
    let what = "Embeddings";
    let model = health.model.as_deref().unwrap_or("none yet");
    if health.documents_waiting == 0 {
        return Finding::good(what, format!("All documents are embedded. Model: {model}"));
    }
    let since = health.waiting_since.as_deref().and_then(|since| since.parse::<jiff::Timestamp>().ok());
    let since = since.map(SystemTime::from);
    let age = since.and_then(|since| now.duration_since(since).ok()).unwrap_or_default();
    let waiting = count(health.documents_waiting, "document");
    let begun = health.waiting_since.as_deref().unwrap_or_default();
    let shown = format!("{waiting} wait, the first since {begun}. Model: {model}");
    if age < EMBEDDED_WITHIN {
        return Finding::good(what, shown);
    }
    let todo = "They are not found by meaning. A process that stores spans embeds them: see that one runs with the schema's \
                model, and its event TraceStore.EmbeddingFailed.";
    Finding::attention(what, shown, todo)
}

fn partitions(health: &Health) -> Option<Finding> {
    let what = "Partitions";
    let (days, spans) = (health.days_ahead?, health.default_spans.unwrap_or(0));
    let shown =
        format!("{} from today on, {} in the default partition", count(days, "day"), count(spans, "span"));
    Some(if days < DAYS_AHEAD {
        let todo = "Days are made ahead by processes that store spans, and by otel-pgvector maintain: see that one of them runs.";
        Finding::attention(what, shown, todo)
    } else if let (Some(partitions), Some(limit)) = (health.partitions, health.partition_limit)
        && partitions >= limit / 10 * 9
    {
        let shown = format!("{partitions} of {limit} that the server has locks for");
        let todo = "Searches lock every partition: raise max_locks_per_transaction, or keep fewer days (retention_days).";
        Finding::attention(what, shown, todo)
    } else if spans > 0 {
        let todo = "otel-pgvector maintain moves those to their days that have a possible time; the others have wrong clocks.";
        Finding::attention(what, shown, todo)
    } else {
        Finding::good(what, shown)
    })
}

/// Of a server that receives, and cannot store what it is sent.
pub(super) fn of_receiving(error: &str) -> Finding {
    let todo = "The message says what is missing: for the login that receives, OTEL_PGVECTOR_SERVE_WRITER where that is set. Until \
                then senders are asked to send again, or spans wait in the spool.";
    Finding::bad("Receiving", error, todo)
}

/// Of what a server received.
pub(super) fn of_exporter(status: &ExporterStatus) -> Vec<Finding> {
    let waiting = status.waiting + status.spool.spans;
    let where_to = format!(
        "{} in memory ({}), {} in the spool ({})",
        count(status.waiting, "span"),
        bytes(status.queue_bytes),
        count(status.spool.spans, "span"),
        bytes(status.spool.bytes)
    );
    let last = status.last_error.as_deref().map(|error| format!(". {error}")).unwrap_or_default();
    let mut found = vec![match status.breaker {
        BreakerState::Closed => Finding::good("Circuit breaker", "Closed: batches go to the database"),
        BreakerState::HalfOpen => Finding::attention(
            "Circuit breaker",
            format!("Half open: the next batch tries whether the database is back{last}"),
            "It closes by itself once a batch is stored.",
        ),
        BreakerState::Open => Finding::bad(
            "Circuit breaker",
            format!("Open after {} in a row{last}", count(status.failures.into(), "failure")),
            "The database is left alone for a while and then tried again: see why it fails.",
        ),
    }];
    found.push(match waiting {
        0 => Finding::good("Waiting", "Nothing waits for the database"),
        _ => Finding::attention("Waiting", where_to, "It is stored when the database takes it."),
    });
    if status.rejected + status.spool.rejected > 0 {
        found.push(Finding::attention(
            "Rejected",
            format!(
                "{} refused by PostgreSQL for what is in them, {} in the spool's folder rejected/",
                count(status.rejected, "span"),
                thousands(status.spool.rejected)
            ),
            "otel-pgvector import reads these files, once their cause is mended.",
        ));
    }
    let lost = status.dropped + status.revoked;
    found.push(match lost {
        0 => Finding::good("Lost", "No span is lost"),
        _ => Finding::bad(
            "Lost",
            format!("{} since the server began", count(lost, "span")),
            "There was no room to wait for the database: a spool (spool_dir, spool_mebibytes) keeps more.",
        ),
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Health {
        Health {
            healthy: true,
            server_version: Some("18.0".into()),
            pgvector_version: Some("0.8.0".into()),
            schema_version: SCHEMA_VERSION,
            days_ahead: Some(4),
            ..Health::default()
        }
    }

    fn states(health: &Health) -> Vec<(&'static str, State)> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let found = of_store(health, "db:5432/otel", "otel", now);
        found.iter().map(|finding| (finding.what, finding.state)).collect()
    }

    #[test]
    fn a_store_that_is_well_has_nothing_to_do() {
        assert!(states(&healthy()).iter().all(|(_, state)| *state == State::Good));
        assert!(of_exporter(&ExporterStatus::default()).iter().all(|finding| finding.todo.is_none()));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_to_do() {
        let down = Health { error: Some("cannot connect".into()), ..Health::default() };
        assert_eq!(states(&down), [("Database", State::Bad)]);
        let bare = Health {
            server_version: Some("18.0".into()),
            error: Some("missing".into()),
            ..Health::default()
        };
        assert_eq!(states(&bare), [("Database", State::Good), ("Schema", State::Bad)]);
        let searched = Health { read_only: Some(true), ..healthy() };
        assert_eq!(states(&searched)[..2], [("Database", State::Good), ("Schema", State::Good)]);
        let standby = Health { healthy: false, error: Some("read-only".into()), ..searched };
        assert_eq!(states(&standby)[..2], [("Database", State::Bad), ("Schema", State::Good)]);
        let late = Health { days_ahead: Some(1), ..healthy() };
        assert!(states(&late).contains(&("Partitions", State::Attention)));
        for (partitions, expected) in [(200, State::Good), (290, State::Attention)] {
            let many = Health { partitions: Some(partitions), partition_limit: Some(320), ..healthy() };
            assert!(states(&many).contains(&("Partitions", expected)), "{partitions}");
        }
    }

    #[test]
    fn documents_may_wait_for_some_minutes() {
        for (since, expected) in
            [("2025-12-31T23:55:00Z", State::Good), ("2025-12-31T23:00:00Z", State::Attention)]
        {
            let waiting = Health { documents_waiting: 3, waiting_since: Some(since.into()), ..healthy() };
            assert!(states(&waiting).contains(&("Embeddings", expected)), "{since}");
        }
    }

    #[test]
    fn an_exporter_that_cannot_store_says_so() {
        let status = ExporterStatus {
            breaker: BreakerState::Open,
            waiting: 5,
            dropped: 1,
            ..ExporterStatus::default()
        };
        let found = of_exporter(&status);
        let states: Vec<State> = found.iter().map(|finding| finding.state).collect();
        assert_eq!(states, [State::Bad, State::Attention, State::Bad]);
    }
}
