//! A value on its way from a layer to its setting.

use std::fmt;

use config::ValueKind;
use serde::{Deserialize, Serialize};

/// A value for [`SettingsLoader::set`](super::SettingsLoader::set): a boolean, a number, text, or a list of texts.
///
/// An absent value (`None`) leaves the setting to the layers below. `Debug` does not show the value: it may be secret.
#[derive(Clone)]
pub struct SettingValue(pub(super) ValueKind);

impl fmt::Debug for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SettingValue(<hidden>)")
    }
}

macro_rules! from {
    ($($type:ty),+) => {$(
        impl From<$type> for SettingValue {
            fn from(value: $type) -> Self {
                SettingValue(value.into())
            }
        }
    )+};
}

from!(bool, i32, i64, u16, u32, u64, f64, &str, String, Option<String>, Vec<&str>, Vec<String>);

impl From<Option<usize>> for SettingValue {
    fn from(value: Option<usize>) -> Self {
        value.map_or(SettingValue(ValueKind::Nil), SettingValue::from)
    }
}

impl From<usize> for SettingValue {
    fn from(value: usize) -> Self {
        SettingValue(ValueKind::U128(value as u128))
    }
}

/// Which batch is given up when no more can wait. Every choice is counted and reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhenFull {
    /// The batch that comes: `drop_newest`.
    #[default]
    DropNewest,
    /// Those that have waited longest: `drop_oldest`.
    DropOldest,
}

impl From<WhenFull> for SettingValue {
    fn from(policy: WhenFull) -> Self {
        SettingValue::from(match policy {
            WhenFull::DropNewest => "drop_newest",
            WhenFull::DropOldest => "drop_oldest",
        })
    }
}

/// Who maintains the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Maintenance {
    /// Whoever runs `otel-pgvector maintain`: `manual`.
    #[default]
    Manual,
    /// One of the exporters, about hourly: `auto`.
    Auto,
}

impl From<Maintenance> for SettingValue {
    fn from(who: Maintenance) -> Self {
        SettingValue::from(match who {
            Maintenance::Manual => "manual",
            Maintenance::Auto => "auto",
        })
    }
}
