//! What is to be done with an attribute, by its key; and what stands for a value afterwards.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use hashbrown::HashMap;
use uuid::Uuid;

use super::json;
use super::model::Value;
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::settings::redact::{Action, Rule, compile, decide};

/// Stands for a value that is masked.
pub(super) const MASK: &str = "***";
/// Begins what stands for a value that is hashed.
const HASH: &str = "hash:";

/// What is to be done with attributes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Keep,
    Drop,
    Hash,
    Mask,
    /// The value is a URL, or a part of one: the rules hold for its parameters.
    Url,
    /// The value is a connection string: the rules hold for its parts.
    ConnectionString,
}

/// Keys of which the values are searched for parameters.
const URLS: [&str; 4] = ["url.full", "url.query", "http.url", "http.target"];
const CONNECTION_STRING: &str = "db.connection_string";

/// Keys whose decision is remembered. A program has some hundred; a hostile client has as many as it likes.
const REMEMBERED: usize = 4096;
/// Longer keys are decided anew each time.
const LONGEST_REMEMBERED: usize = 256;

type Decisions = HashMap<Box<str>, Decision>;

/// The rules with what they have decided so far, and the key of the hashes.
pub(super) struct Redaction {
    rules: Vec<Rule>,
    key: [u8; 32],
    decisions: RwLock<Decisions>,
}

impl Redaction {
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let rules = compile(&settings.redact).map_err(|reason| Error::Setting {
            key: "redact".into(),
            value: settings.redact.join(", "),
            layer: "builder".into(),
            reason,
        })?;
        let key = match settings.redact_key.as_str() {
            "" => *key_of_process(),
            text => blake3::derive_key(CONTEXT, text.as_bytes()),
        };
        Ok(Redaction { rules, key, decisions: RwLock::default() })
    }

    pub(super) fn is_none(&self) -> bool {
        self.rules.is_empty()
    }

    /// Looks keys up for a while, under one lock.
    pub(super) fn reader(&self) -> Reader<'_> {
        let known = self.decisions.read().unwrap_or_else(PoisonError::into_inner);
        Reader { redaction: self, known, new: Decisions::default() }
    }

    /// What stands for `text` by this action; `None` where it stays, or already stands for something.
    pub(super) fn replacement(&self, action: Action, text: &str) -> Option<String> {
        match action {
            Action::Mask if text != MASK => Some(MASK.to_owned()),
            Action::Hash if !is_hash(text) => Some(self.hash(text.as_bytes())),
            _ => None,
        }
    }

    /// What stands for a value by its hash: of its text, or of its JSON where it is none. `None` where it is a hash.
    pub(super) fn hash_of(&self, value: &Value<'_>) -> Option<String> {
        match value {
            Value::String(text) => self.replacement(Action::Hash, text),
            Value::Bytes(bytes) => Some(self.hash(bytes)),
            other => {
                let mut text = String::new();
                json::value_into(&mut text, other);
                Some(self.hash(text.as_bytes()))
            }
        }
    }

    /// 128 bits.
    fn hash(&self, content: &[u8]) -> String {
        let mut short = [0; 16];
        blake3::Hasher::new_keyed(&self.key).update(content).finalize_xof().fill(&mut short);
        format!("{HASH}{:032x}", u128::from_be_bytes(short))
    }

    /// Remembers decisions that a reader made.
    pub(super) fn learn(&self, new: Decisions) {
        if new.is_empty() {
            return;
        }
        let mut known = self.decisions.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() + new.len() > REMEMBERED {
            // Forgetting costs time only.
            known.clear();
        }
        known.extend(new.into_iter().take(REMEMBERED));
    }
}

/// Whether a text is what stands for a hashed value: spans that are read from a file may have been here before.
fn is_hash(text: &str) -> bool {
    text.strip_prefix(HASH).is_some_and(|hex| {
        hex.len() == 32 && hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

const CONTEXT: &str = "opentelemetry-pgvector redact_key 1";

/// A random key, the same for all exporters of a process.
fn key_of_process() -> &'static [u8; 32] {
    static KEY: OnceLock<[u8; 32]> = OnceLock::new();
    KEY.get_or_init(|| {
        let random = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()];
        blake3::derive_key(CONTEXT, random.as_flattened())
    })
}

/// Decides by key, from memory where it can.
pub(super) struct Reader<'a> {
    pub(super) redaction: &'a Redaction,
    known: RwLockReadGuard<'a, Decisions>,
    new: Decisions,
}

impl Reader<'_> {
    pub(super) fn decision(&mut self, key: &str) -> Decision {
        match self.known.get(key) {
            Some(decision) => *decision,
            None => self.decide(key),
        }
    }

    /// What the rules say of a parameter's name, which is remembered as a key is: both have their few names.
    pub(super) fn action(&mut self, name: &str) -> Option<Action> {
        match self.decision(name) {
            Decision::Drop => Some(Action::Drop),
            Decision::Hash => Some(Action::Hash),
            Decision::Mask => Some(Action::Mask),
            Decision::Keep | Decision::Url | Decision::ConnectionString => None,
        }
    }

    #[cold]
    fn decide(&mut self, key: &str) -> Decision {
        if let Some(decision) = self.new.get(key) {
            return *decision;
        }
        let decision = match decide(&self.redaction.rules, key) {
            Some(Action::Drop) => Decision::Drop,
            Some(Action::Hash) => Decision::Hash,
            Some(Action::Mask) => Decision::Mask,
            Some(Action::Keep) => Decision::Keep,
            None if self.redaction.is_none() => Decision::Keep,
            None if URLS.contains(&key) => Decision::Url,
            None if key == CONNECTION_STRING => Decision::ConnectionString,
            None => Decision::Keep,
        };
        if key.len() <= LONGEST_REMEMBERED && self.new.len() < REMEMBERED {
            self.new.insert(key.into(), decision);
        }
        decision
    }

    /// What was decided anew, to be [learnt](Redaction::learn) after the lock is free.
    pub(super) fn into_new(self) -> Decisions {
        self.new
    }
}

/// A value that is masked.
pub(super) fn masked() -> Value<'static> {
    Value::String(Cow::Borrowed(MASK))
}
