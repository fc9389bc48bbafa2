//! The command line of `serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::values::address;

/// Show traces on a page, answer as Jaeger does, and receive OTLP.
///
/// Open its address in a browser for the page. A jaeger-ui or Grafana's Jaeger data source that is pointed at it shows the traces of the store; the tag
/// `search.text` finds them by meaning. Looking takes the reader's rights. With --receive it takes OTLP by gRPC and HTTP,
/// too, which takes the writer's: what it acknowledges is committed, or in the spool (spool_dir), and otherwise it asks the
/// sender to send again. OTEL_PGVECTOR_SERVE_WRITER may hold the connection string of another role for what is received.
///
/// It listens on this machine only, for everyone, until it is told otherwise. It ends at Ctrl-C or SIGTERM, once what is
/// under way is done.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector serve
  otel-pgvector serve --receive
  OTEL_PGVECTOR_SERVE_BEARER_TOKEN=... otel-pgvector serve --listen 0.0.0.0:16686 --tls-cert cert.pem --tls-key key.pem
  curl 'http://127.0.0.1:16686/api/search?q=payment+declined&service=checkout'")]
pub struct ServeOptions {
    /// Where the page, its API and Jaeger's are.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:16686",
        env = "OTEL_PGVECTOR_SERVE_LISTEN",
        value_parser = address
    )]
    pub listen: SocketAddr,

    /// Receive OTLP by gRPC and by HTTP.
    #[arg(long, env = "OTEL_PGVECTOR_SERVE_RECEIVE", value_parser = receive)]
    pub receive: bool,

    /// Where OTLP comes by gRPC; needs --receive.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:4317",
        env = "OTEL_PGVECTOR_SERVE_OTLP_GRPC",
        value_parser = address
    )]
    pub otlp_grpc: SocketAddr,

    /// Where OTLP comes by HTTP, to the path /v1/traces; needs --receive.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:4318",
        env = "OTEL_PGVECTOR_SERVE_OTLP_HTTP",
        value_parser = address
    )]
    pub otlp_http: SocketAddr,

    /// The certificate in PEM, for all addresses.
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "OTEL_PGVECTOR_SERVE_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "OTEL_PGVECTOR_SERVE_TLS_KEY")]
    pub tls_key: Option<PathBuf>,

    /// Let in only who brings the token that is in this file; the environment variable
    /// OTEL_PGVECTOR_SERVE_BEARER_TOKEN may hold the token itself.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "basic_auth_file",
        env = "OTEL_PGVECTOR_SERVE_BEARER_TOKEN_FILE"
    )]
    pub bearer_token_file: Option<PathBuf>,

    /// Let in only who brings the `user:password` that is in this file; the environment variable
    /// OTEL_PGVECTOR_SERVE_BASIC_AUTH may hold it itself.
    #[arg(long, value_name = "FILE", env = "OTEL_PGVECTOR_SERVE_BASIC_AUTH_FILE")]
    pub basic_auth_file: Option<PathBuf>,

    /// A name by which the page and the APIs may be called, besides localhost and addresses; several times for several names,
    /// or with commas between them. It matters where everyone of this machine is let in.
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "OTEL_PGVECTOR_SERVE_ALLOWED_HOST")]
    pub allowed_host: Vec<String>,

    /// The largest request with spans, in mebibytes, when unpacked.
    #[arg(long, value_name = "MIB", default_value_t = 16, env = "OTEL_PGVECTOR_SERVE_MAX_REQUEST_MEBIBYTES", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_request_mebibytes: u16,

    /// Requests with spans at a time; more are asked to come again.
    #[arg(long, value_name = "COUNT", default_value_t = 32, env = "OTEL_PGVECTOR_SERVE_MAX_RECEIVING", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_receiving: u16,

    /// Requests for traces at a time; more are refused.
    #[arg(long, value_name = "COUNT", default_value_t = 16, env = "OTEL_PGVECTOR_SERVE_MAX_ANSWERING", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_answering: u16,
}

/// As the environment variable has it; the flag alone is true.
fn receive(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("expected true or false in OTEL_PGVECTOR_SERVE_RECEIVE".into()),
    }
}
