//! Ids of traces as statements ask for them.

use opentelemetry::trace::TraceId;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// Ids as the parameters of [`of_traces`].
pub(crate) struct TraceIds {
    /// In hexadecimal digits.
    pub text: Vec<String>,
    pub ids: Vec<Uuid>,
}

impl TraceIds {
    pub(crate) fn new(ids: impl IntoIterator<Item = TraceId>) -> Self {
        let ids: Vec<TraceId> = ids.into_iter().collect();
        TraceIds {
            text: ids.iter().map(ToString::to_string).collect(),
            ids: ids.iter().map(|id| Uuid::from_bytes(id.to_bytes())).collect(),
        }
    }

    /// As the driver takes them.
    pub(crate) fn as_parameters(&self) -> [&(dyn ToSql + Sync); 2] {
        [&self.text, &self.ids]
    }
}

/// Rows of these traces: the text finds them by their index, the id itself tells Citus on which node they are.
///
/// These are two parameters. Of one that is cast, a plan that is kept for any parameters would cast all ids again for each row.
pub(crate) fn of_traces(text: &str, ids: &str) -> String {
    format!("encode(uuid_send(trace_id), 'hex') COLLATE \"C\" = ANY({text}) AND trace_id = ANY({ids})")
}
