//! Certificates made by the test.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

/// A certificate and its key, in PEM.
pub struct Certificate {
    pub cert: String,
    pub key: String,
}

/// An authority that issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub cert: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let cert = params.self_signed(&key).expect("a certificate").pem();
        Authority { issuer: Issuer::new(params, key), cert }
    }

    /// A server's certificate for these names.
    pub fn server(&self, names: &[&str]) -> Certificate {
        self.issue(server_params(names))
    }

    /// A server's certificate that has expired.
    pub fn expired(&self, names: &[&str]) -> Certificate {
        self.issue(expire(server_params(names)))
    }

    /// A client's certificate for a role.
    pub fn client(&self, role: &str) -> Certificate {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, role);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    fn issue(&self, params: CertificateParams) -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Certificate { cert, key: key.serialize_pem() }
    }
}

/// As `openssl req -x509` makes them: self-signed, and an authority too.
pub fn self_signed(names: &[&str], is_expired: bool) -> Certificate {
    let mut params = server_params(names);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let params = if is_expired { expire(params) } else { params };
    let key = KeyPair::generate().expect("a key");
    let cert = params.self_signed(&key).expect("a certificate").pem();
    Certificate { cert, key: key.serialize_pem() }
}

fn server_params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("valid names");
    params.distinguished_name.push(DnType::CommonName, "a server");
    params
}

fn expire(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}
