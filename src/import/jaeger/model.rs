//! Jaeger's JSON model (`model/json/model.go`), as tolerant as its writers differ.

use serde::Deserialize;

use super::tag::Tag;
use crate::import::otlp_json::scalar::{Integer, nullable};

macro_rules! messages {
    ($($message:ident { $($field:ident = $name:literal: $type:ty,)+ })+) => {$(
        #[derive(Default, Deserialize)]
        #[serde(default)]
        pub(super) struct $message {
            $(#[serde(rename = $name, deserialize_with = "nullable")] pub $field: $type,)+
        }
    )+};
}

messages! {
    SpanMessage {
        trace_id = "traceID": String,
        span_id = "spanID": String,
        parent_span_id = "parentSpanID": String,
        flags = "flags": Integer<u32>,
        operation_name = "operationName": String,
        references = "references": Vec<Reference>,
        start_time = "startTime": Integer<i64>,
        duration = "duration": Integer<i64>,
        tags = "tags": Vec<Tag>,
        logs = "logs": Vec<Log>,
        process_id = "processID": String,
        process = "process": Option<Process>,
        warnings = "warnings": Vec<String>,
    }
    Reference {
        ref_type = "refType": String,
        trace_id = "traceID": String,
        span_id = "spanID": String,
    }
    Process {
        service_name = "serviceName": String,
        tags = "tags": Vec<Tag>,
    }
    Log {
        timestamp = "timestamp": Integer<i64>,
        fields = "fields": Vec<Tag>,
    }
}
