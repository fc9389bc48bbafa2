//! A value on its way from a layer to its setting.

use std::fmt;

use config::ValueKind;

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
