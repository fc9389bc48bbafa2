//! What the spans of a batch share, such as a resource, each once.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;

/// Numbers what comes in its order; what equals an earlier one has that one's number. It takes as long for the first as
/// for any other, however many there are.
pub(crate) struct Distinct<'a, T> {
    /// Spans that share something have the same `Arc` as a rule, and nothing is compared.
    by_address: HashMap<*const T, usize>,
    by_value: HashMap<&'a T, usize>,
}

impl<T> Default for Distinct<'_, T> {
    fn default() -> Self {
        Distinct { by_address: HashMap::new(), by_value: HashMap::new() }
    }
}

impl<'a, T: Eq + Hash> Distinct<'a, T> {
    /// The number of this, counted from 0: that of an earlier one, or the next.
    pub(crate) fn number(&mut self, this: &'a Arc<T>) -> usize {
        *self.by_address.entry(Arc::as_ptr(this)).or_insert_with(|| {
            let next = self.by_value.len();
            *self.by_value.entry(this).or_insert(next)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Value;

    #[test]
    fn what_is_equal_has_one_number_wherever_it_lies() {
        let [one, two, same] = ["one", "two", "one"].map(|text| Arc::new(text.to_owned()));
        let mut distinct = Distinct::default();
        let numbers = [&one, &two, &same, &two, &one].map(|text| distinct.number(text));
        assert_eq!(numbers, [0, 1, 0, 1, 0]);
    }

    #[test]
    fn values_are_told_apart_as_they_are_when_they_are_stored() {
        let other_nan = f64::from_bits(f64::NAN.to_bits() | 1);
        let values = [
            Value::Double(f64::NAN),
            Value::Double(other_nan),
            Value::Double(0.0),
            Value::Double(-0.0),
            Value::Double(1.0),
            Value::Int(1),
            Value::Bool(true),
            Value::Empty,
            Value::String("".into()),
            Value::Bytes(b"".as_slice().into()),
            Value::Array(vec![]),
            Value::KeyValues(vec![]),
            Value::Array(vec![Value::Empty]),
        ];
        let values = values.map(Arc::new);
        let mut distinct = Distinct::default();
        let numbers = values.each_ref().map(|value| distinct.number(value));
        assert_eq!(numbers, [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    }
}
