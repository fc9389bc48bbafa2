//! Why a server could not be used, with what mends it.

use std::error::Error as StdError;

use rustls::{AlertDescription, CertificateError};

use crate::error::database_message;
use crate::settings::connection::{RootCert, SslMode, Tls};

/// Why one server could not be used.
pub(super) struct Refusal {
    pub(super) reason: String,
    /// Whether it may pass by itself.
    pub(super) transient: bool,
}

impl Refusal {
    /// What a human must mend.
    pub(super) fn lasting(reason: impl Into<String>) -> Self {
        Refusal { reason: reason.into(), transient: false }
    }

    /// What may pass by itself.
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Refusal { reason: reason.into(), transient: true }
    }

    /// The driver's error while connecting to a host.
    pub(super) fn of(error: &tokio_postgres::Error, tls: &Tls, host: &str) -> Self {
        if let Some(failure) = tls_failure(error) {
            return of_tls(failure, error, tls, host);
        }
        let reason = database_message(error);
        match error.code().map(|code| code.code()) {
            Some("28000") if tls.mode != SslMode::Disable && tls.cert.is_none() => Refusal::lasting(format!(
                "{reason} (a server that wants a client certificate gets it from `sslcert` and `sslkey`)"
            )),
            // Classes 28 and 3D: who and where were wrong, and stay wrong.
            Some(code) => Refusal { transient: !matches!(code.get(..2), Some("28" | "3D")), reason },
            None if reason.ends_with("password missing") => Refusal::lasting(
                "the server asks for a password: give it in `password`, `password_file`, PGPASSWORD or .pgpass",
            ),
            None if reason.ends_with("server does not support TLS") => Refusal::lasting(format!(
                "the server has no TLS, which `sslmode={}` requires: set `ssl = on` on the server, or a weaker `sslmode`",
                tls.mode.name()
            )),
            None if reason.ends_with("server did not use channel binding") => Refusal::lasting(
                "the server did not use channel binding, which `channel_binding=require` requires: it needs TLS and \
                 scram-sha-256",
            ),
            // The server does not know the password either, or speaks another method.
            None if reason.starts_with("authentication error") => Refusal::lasting(reason),
            None if reason.ends_with("database does not allow writes") => Refusal::passing(
                "the server is read-only, and `target_session_attrs=read-write` looks for the primary",
            ),
            None => Refusal::passing(reason),
        }
    }
}

/// What failed in TLS, wherever in the driver's error it stands.
pub(super) fn tls_failure(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = cause {
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let error: &(dyn StdError + 'static) = match wrapped {
            Some(inner) => inner,
            None => error,
        };
        if let Some(failure) = error.downcast_ref() {
            return Some(failure);
        }
        cause = error.source();
    }
    None
}

fn of_tls(failure: &rustls::Error, error: &tokio_postgres::Error, tls: &Tls, host: &str) -> Refusal {
    let mode = tls.mode.name();
    let trusted = match &tls.root_cert {
        Some(RootCert::File(path)) => format!("sslrootcert={}", path.display()),
        Some(RootCert::System) => "sslrootcert=system".to_owned(),
        None => "the default authorities".to_owned(),
    };
    match failure {
        rustls::Error::InvalidCertificate(error) => Refusal::lasting(match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "the server's certificate is of an authority that {trusted} does not hold: set `sslrootcert` to the \
                 certificate of its authority"
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
                "the server's certificate is not for {host}, as `sslmode={mode}` requires: connect to a name that it \
                 has as subjectAltName, or set `sslmode=verify-ca`"
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
                "the server's certificate has expired, and `sslmode={mode}` checks it: renew it on the server"
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
                "the server's certificate is not valid yet, and `sslmode={mode}` checks it: compare the clocks of \
                 server and client"
            ),
            CertificateError::Other(_) => format!(
                "the server's certificate cannot be used ({error}): it must be of X.509 version 3, with the host as \
                 subjectAltName, and not an authority's own unless `sslrootcert` holds it"
            ),
            error => format!("the server's certificate is refused by `sslmode={mode}`: {error}"),
        }),
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => Refusal::lasting(format!(
                "the server refuses the client's certificate ({alert:?}): set `sslcert` and `sslkey` to one of an \
                 authority that it trusts"
            )),
            _ => Refusal::passing(format!("TLS failed: {failure}")),
        },
        _ => Refusal::passing(database_message(error)),
    }
}
