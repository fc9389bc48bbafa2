//! `serve`: the page, its API and Jaeger's, and receiving OTLP.

use std::path::Path;

use opentelemetry_pgvector::serve::{Config, Credentials, Limits, Receive, Server, Tls};

use crate::args::{CommandSettings, ServeOptions, WRITER};
use crate::failure::{Failure, Outcome, warn};
use crate::interrupt::interrupted;
use crate::log;
use crate::terminal::tell;

pub async fn serve(settings: CommandSettings, options: &ServeOptions) -> Outcome {
    log::to_stderr();
    let (looking, writing) = settings.into_looking_and_writing(variable(WRITER))?;
    let mut config = Config::new(looking);
    config.api = options.listen;
    config.credentials = credentials(options)?;
    config.allowed_hosts = options.allowed_host.clone();
    config.tls = match (&options.tls_cert, &options.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls { certificate: certificate.clone(), key: key.clone() }),
        _ => None,
    };
    config.limits = Limits::default();
    config.limits.request_bytes = usize::from(options.max_request_mebibytes) << 20;
    config.limits.receiving = options.max_receiving.into();
    config.limits.answering = options.max_answering.into();
    if options.receive {
        let mut receive = Receive::new(writing);
        receive.grpc = Some(options.otlp_grpc);
        receive.http = Some(options.otlp_http);
        config.receive = Some(receive);
    }
    let is_open = config.credentials == Credentials::None;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let server = Server::bind(config)?;
    let addresses = server.addresses();
    tell!("page and APIs: {scheme}://{}", addresses.api);
    if let Some(address) = addresses.otlp_grpc {
        tell!("OTLP by gRPC: {scheme}://{address}");
    }
    if let Some(address) = addresses.otlp_http {
        tell!("OTLP by HTTP: {scheme}://{address}/v1/traces");
    }
    let all = [Some(addresses.api), addresses.otlp_grpc, addresses.otlp_http];
    if is_open && all.into_iter().flatten().any(|address| !address.ip().is_loopback()) {
        warn("everyone who can reach this machine is let in: see --bearer-token-file and --basic-auth-file");
    }
    server.run(interrupted()).await?;
    Ok(())
}

fn credentials(options: &ServeOptions) -> Result<Credentials, Failure> {
    let bearer = secret(options.bearer_token_file.as_deref(), "OTEL_PGVECTOR_SERVE_BEARER_TOKEN")?;
    let basic = secret(options.basic_auth_file.as_deref(), "OTEL_PGVECTOR_SERVE_BASIC_AUTH")?;
    match (bearer, basic) {
        (None, None) => Ok(Credentials::None),
        (Some(token), None) => Ok(Credentials::Bearer(token)),
        (None, Some(basic)) => match basic.split_once(':') {
            Some((user, password)) => {
                Ok(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
            }
            None => Err(Failure::Usage("basic authentication: expected user:password".into())),
        },
        (Some(_), Some(_)) => {
            Err(Failure::Usage("a token and a password were given: one of them has to do".into()))
        }
    }
}

/// What is in the file, else in the environment.
fn secret(file: Option<&Path>, name: &str) -> Result<Option<String>, Failure> {
    match file {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
            Ok(Some(text.trim().to_owned()))
        }
        None => Ok(variable(name)),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
