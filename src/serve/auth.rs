//! Who is let in.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::error::{Error, Result};

/// What a request has to bring in its header `Authorization`.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing: everyone who can connect is let in.
    #[default]
    None,
    /// `Bearer` and this token.
    Bearer(String),
    /// A name and a password, as browsers ask for them. The name has no colon.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
}

/// Compares what a request brings.
pub(super) struct Guard {
    /// The hash of what is expected: comparing two hashes takes the same time wherever they differ.
    expected: Option<blake3::Hash>,
    challenge: &'static str,
}

impl Guard {
    /// # Errors
    /// [`Error::Input`] for credentials that no request could bring.
    pub(super) fn new(credentials: &Credentials) -> Result<Self> {
        let wrong = |reason: &str| Error::Input { origin: "credentials".into(), reason: reason.into() };
        let (expected, challenge) = match credentials {
            Credentials::None => return Ok(Guard { expected: None, challenge: "" }),
            Credentials::Bearer(token) if token.is_empty() => return Err(wrong("the token is empty")),
            Credentials::Bearer(token) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Err(wrong("the token has characters that a header cannot have"));
            }
            Credentials::Basic { user, password } if user.is_empty() || password.is_empty() => {
                return Err(wrong("expected user:password"));
            }
            Credentials::Basic { user, .. } if user.contains(':') => {
                return Err(wrong("the name has a colon, which ends it in a request"));
            }
            Credentials::Bearer(token) => (format!("Bearer {token}"), "Bearer realm=\"otel-pgvector\""),
            Credentials::Basic { user, password } => (
                format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))),
                "Basic realm=\"otel-pgvector\", charset=\"UTF-8\"",
            ),
        };
        Ok(Guard { expected: Some(hash(expected.as_bytes())), challenge })
    }

    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = self.expected else { return true };
        let Some(brought) = headers.get(AUTHORIZATION) else { return false };
        let brought = brought.as_bytes();
        // The scheme's name may be in either case.
        let scheme = brought.iter().position(|byte| *byte == b' ').unwrap_or(brought.len());
        let (scheme, rest) = brought.split_at(scheme);
        let mut canonical = scheme.to_ascii_lowercase();
        if let Some(first) = canonical.first_mut() {
            first.make_ascii_uppercase();
        }
        canonical.extend_from_slice(rest);
        hash(&canonical) == expected
    }
}

fn hash(bytes: &[u8]) -> blake3::Hash {
    blake3::hash(bytes)
}

/// Answers a request that is not let in, with a challenge.
pub(super) type Refuse = fn(&'static str) -> Response;

/// Lets a request through, or answers with what `refuse` makes of the challenge.
pub(super) async fn require(
    State((guard, refuse)): State<(Arc<Guard>, Refuse)>,
    request: Request,
    next: Next,
) -> Response {
    match guard.lets_in(request.headers()) {
        true => next.run(request).await,
        false => refuse(guard.challenge),
    }
}

/// Secrets are not shown.
impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Credentials::None => "None",
            Credentials::Bearer(_) => "Bearer(<hidden>)",
            Credentials::Basic { .. } => "Basic(<hidden>)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lets_in(credentials: &Credentials, header: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, header.parse().expect("a header"));
        }
        Guard::new(credentials).expect("valid").lets_in(&headers)
    }

    #[test]
    fn only_the_very_credentials_are_let_in() {
        assert!(lets_in(&Credentials::None, None));
        let bearer = Credentials::Bearer("s3cret".into());
        for (header, expected) in [
            (Some("Bearer s3cret"), true),
            (Some("bearer s3cret"), true),
            (Some("Bearer s3cre"), false),
            (Some("Bearer s3crett"), false),
            (Some("Bearer S3CRET"), false),
            (Some("Basic s3cret"), false),
            (Some("s3cret"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(lets_in(&bearer, header), expected, "{header:?}");
        }
        let basic = Credentials::Basic { user: "ann".into(), password: "a:b".into() };
        assert!(lets_in(&basic, Some("Basic YW5uOmE6Yg==")));
        assert!(!lets_in(&basic, Some("Basic YW5uOmE6Yw==")));
        assert!(!format!("{bearer:?}{basic:?}").contains("s3cret"));
    }

    #[test]
    fn credentials_that_no_request_could_bring_are_refused() {
        for wrong in [
            Credentials::Bearer(String::new()),
            Credentials::Bearer("two words".into()),
            Credentials::Basic { user: "a:b".into(), password: "c".into() },
            Credentials::Basic { user: "ann".into(), password: String::new() },
        ] {
            assert!(Guard::new(&wrong).is_err(), "{wrong:?}");
        }
    }
}
