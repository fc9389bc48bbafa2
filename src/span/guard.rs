//! Keeping the number of documents bounded, whatever a client puts into names and attributes.
//!
//! Everything is counted per service. A place that shows too many different templates (a *slot*: the name, one attribute
//! of one operation) goes to the row; an operation that combines them into too many documents falls back to a coarser
//! [`Level`]. What was admitted once stays admitted, so frequent operations keep their precise documents.

use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};

use super::keys::{Class, classify};

/// How much of a span its document holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Name, status, attributes and events.
    Full,
    /// Name, status and the attributes of which the conventions promise few values.
    Conventional,
    /// The name and the status code.
    Operation,
    /// The service, kind and status code.
    Service,
}

impl Level {
    pub(crate) const ALL: [Level; 4] = [Level::Full, Level::Conventional, Level::Operation, Level::Service];

    /// How many documents of one operation, and of one service in all, may exist before this level is closed.
    fn limits(self) -> (u32, usize) {
        match self {
            Level::Full => (600, 3000),
            Level::Conventional => (700, 3300),
            Level::Operation => (u32::MAX, 3600),
            Level::Service => (u32::MAX, usize::MAX),
        }
    }
}

/// Different values that an attribute of an unknown key may show, and be constant.
const UNKNOWN_VALUES: usize = 8;
/// Different templates in one slot of one operation.
const SLOT_TEMPLATES: usize = 300;
/// Different span names of one service.
const NAMES: usize = 800;
/// Attribute keys, slots and operations of which a service's state is kept.
const TRACKED: usize = 4096;
/// Templates that are remembered for one service, over all slots.
const TEMPLATES: usize = 16 * 1024;
/// Services of which state is kept. A process exports one; an import may bring many.
const SERVICES: usize = 1024;

/// The state of every service that this process has seen.
#[derive(Default)]
pub(crate) struct Guard {
    services: HashMap<Box<str>, Service>,
}

impl Guard {
    pub(crate) fn service(&mut self, name: &str) -> &mut Service {
        if !self.services.contains_key(name) && self.services.len() >= SERVICES {
            // Forgetting costs precision only: documents are found again by their content.
            self.services.clear();
        }
        self.services.entry_ref(name).or_default()
    }
}

/// What one service has shown so far.
#[derive(Default)]
pub(crate) struct Service {
    keys: HashMap<Box<str>, Key>,
    slots: HashMap<u64, HashSet<u64>>,
    templates: usize,
    operations: HashMap<u64, u32>,
    admitted: HashSet<u128>,
}

struct Key {
    class: Class,
    /// Hashes of the values seen while the class is `Unknown`; then no longer needed.
    values: Vec<u64>,
}

impl Service {
    /// The key's class; `None` when there are more keys than are tracked.
    pub(crate) fn class(&mut self, key: &str) -> Option<Class> {
        if let Some(known) = self.keys.get(key) {
            return Some(known.class);
        }
        let class = classify(key);
        if self.keys.len() >= TRACKED {
            return (class != Class::Unknown).then_some(class);
        }
        self.keys.insert(key.into(), Key { class, values: Vec::new() });
        Some(class)
    }

    /// Whether an unknown key's value is one of few; if not, the key varies from now on.
    pub(crate) fn is_one_of_few(&mut self, key: &str, value: u64) -> bool {
        let Some(known) = self.keys.get_mut(key) else { return false };
        if known.values.contains(&value) {
            return true;
        }
        if known.values.len() < UNKNOWN_VALUES {
            known.values.push(value);
            return true;
        }
        known.class = Class::Varying;
        known.values = Vec::new();
        false
    }

    /// Whether a slot of an operation may hold this template.
    pub(crate) fn admits_template(&mut self, slot: u64, template: u64) -> bool {
        self.admit(slot, template, SLOT_TEMPLATES)
    }

    /// Whether the service may have spans whose name has this template.
    pub(crate) fn admits_name(&mut self, template: u64) -> bool {
        self.admit(0, template, NAMES)
    }

    fn admit(&mut self, slot: u64, template: u64, limit: usize) -> bool {
        if self.slots.len() >= TRACKED && !self.slots.contains_key(&slot) {
            return false;
        }
        let templates = self.slots.entry(slot).or_default();
        if templates.contains(&template) {
            return true;
        }
        if templates.len() >= limit || self.templates >= TEMPLATES {
            return false;
        }
        self.templates += 1;
        templates.insert(template)
    }

    /// Whether a document of this operation and level may be used.
    pub(crate) fn admits_document(&mut self, level: Level, operation: u64, document: u128) -> bool {
        if self.admitted.contains(&document) {
            return true;
        }
        let (per_operation, per_service) = level.limits();
        if self.admitted.len() >= per_service {
            return false;
        }
        let full = self.operations.len() >= TRACKED;
        match self.operations.entry(operation) {
            Entry::Vacant(_) if full && level < Level::Service => return false,
            Entry::Vacant(_) if full => {}
            entry => {
                let count = entry.or_insert(0);
                if *count >= per_operation {
                    return false;
                }
                *count += 1;
            }
        }
        self.admitted.insert(document);
        true
    }
}
