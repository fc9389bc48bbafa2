//! TLS as libpq does it: what a connection string says, as a configuration of rustls.
//!
//! Files are read for each new connection, so that certificates may be renewed under a running process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::settings::connection::{RootCert, Tls, Verification};

/// What connects with TLS, or what is wrong with the files.
pub(super) fn connector(tls: &Tls) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier {
        trusted: match tls.verification() {
            Verification::Nothing => None,
            _ => Some(Trusted::read(tls.root_cert.as_ref())?),
        },
        name: tls.verification() == Verification::ChainAndName,
        provider: Arc::clone(&provider),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match client_certificate(tls)? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("`sslcert` and `sslkey` do not go together: {error}"))?,
        None => builder.with_no_client_auth(),
    };
    // Servers from 17 on insist on it for `sslnegotiation=direct`.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

/// The certificates that a server's may descend from.
#[derive(Debug)]
struct Trusted {
    roots: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trusted {
    fn read(root_cert: Option<&RootCert>) -> Result<Self, String> {
        let certificates = match root_cert {
            Some(RootCert::File(path)) => certificates("sslrootcert", path)?,
            Some(RootCert::System) => system()?,
            None => match in_home("root.crt") {
                Some(path) => certificates("sslrootcert", &path)?,
                None => system()?,
            },
        };
        let mut roots = RootCertStore::empty();
        // A system may have authorities that rustls does not understand.
        if roots.add_parsable_certificates(certificates.iter().cloned()).0 == 0 {
            return Err("`sslrootcert` holds no certificate that can be used".to_owned());
        }
        Ok(Trusted { roots, certificates })
    }
}

fn system() -> Result<Vec<CertificateDer<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let reason = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!("the system has no authorities{reason}: set `sslrootcert` to a file"));
    }
    Ok(found.certs)
}

fn certificates(parameter: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error| unreadable(parameter, path, &error);
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect();
    match read.map_err(unreadable)? {
        none if none.is_empty() => {
            Err(format!("`{parameter}` {} holds no certificate in PEM", path.display()))
        }
        certificates => Ok(certificates),
    }
}

fn unreadable(parameter: &str, path: &Path, error: &rustls::pki_types::pem::Error) -> String {
    format!("`{parameter}` {} cannot be read: {error}", path.display())
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The client's certificate and its key, from the connection string or where libpq looks by default.
fn client_certificate(tls: &Tls) -> Result<Option<Identity>, String> {
    let Some(cert) = tls.cert.clone().or_else(|| in_home("postgresql.crt")) else {
        return Ok(None);
    };
    let Some(key) = tls.key.clone().or_else(|| in_home("postgresql.key")) else {
        return Err(format!("`sslcert` {} has no key: set `sslkey`", cert.display()));
    };
    private(&key).map_err(|reason| format!("`sslkey` {} {reason}", key.display()))?;
    let chain = certificates("sslcert", &cert)?;
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            format!("`sslkey` {} holds no key in PEM, or one with a passphrase", key.display())
        }
        error => unreadable("sslkey", &key, &error),
    })?;
    Ok(Some((chain, key)))
}

/// Refuses a key that others may read, as libpq does; the superuser's may be readable by a group.
#[cfg(unix)]
fn private(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    let others = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & others != 0 {
        return Err("may be read by others: run chmod 0600 on it".to_owned());
    }
    Ok(())
}

#[cfg(not(unix))]
fn private(_: &Path) -> Result<(), String> {
    Ok(())
}

/// A file in `~/.postgresql`, if it is there.
fn in_home(name: &str) -> Option<PathBuf> {
    let path = std::env::home_dir()?.join(".postgresql").join(name);
    path.exists().then_some(path)
}

/// Checks a server's certificate as far as `sslmode` asks for it. That the server has the certificate's key is always
/// checked: channel binding relies on it.
#[derive(Debug)]
struct Verifier {
    trusted: Option<Trusted>,
    name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let chain = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &trusted.roots,
            intermediates,
            now,
            algorithms,
        );
        match chain {
            // `openssl req -x509` makes self-signed certificates that are authorities too. Whoever gives such a one as
            // `sslrootcert` means this very certificate; its validity was checked before.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(error))))
                if is_ca_used_as_end_entity(error.as_ref())
                    && trusted.certificates.iter().any(|trusted| trusted == end_entity) => {}
            chain => chain?,
        }
        if self.name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn is_ca_used_as_end_entity(error: &(dyn std::error::Error + Send + Sync)) -> bool {
    error.to_string() == "CaUsedAsEndEntity"
}
