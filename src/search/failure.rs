//! Whether a query speaks of failure: then what failed comes first.

/// Words of failure, by how they begin.
const BEGINNINGS: &[&str] = &[
    "abort",
    "broke",
    "conflict",
    "corrupt",
    "crash",
    "deadlock",
    "declin",
    "denied",
    "deny",
    "error",
    "except",
    "exhaust",
    "expire",
    "fail",
    "fault",
    "forbid",
    "illegal",
    "incorrect",
    "interrupt",
    "invalid",
    "malform",
    "mismatch",
    "missing",
    "overload",
    "panic",
    "refus",
    "reject",
    "stuck",
    "throttl",
    "timeout",
    "unable",
    "unauth",
    "unavail",
    "unexpect",
    "unhandl",
    "unknown",
    "unreach",
    "violat",
    "wrong",
];

/// Whole words of failure.
const WORDS: &[&str] = &["bad", "bug", "cannot", "lost", "killed"];

/// Words that speak of failure together.
const PHRASES: &[&str] = &["timed out", "not found", "does not", "did not", "could not", "can't", "couldn't"];

/// Whether a query speaks of failure, by its words.
pub(super) fn speaks_of_failure(query: &str) -> bool {
    let query = query.to_lowercase();
    let mut words = query.split(|character: char| !character.is_alphanumeric());
    words.any(|word| {
        WORDS.contains(&word)
            || BEGINNINGS.iter().any(|beginning| word.starts_with(beginning))
            // A status of HTTP.
            || (word.len() == 3 && word.starts_with(['4', '5']) && word.bytes().all(|byte| byte.is_ascii_digit()))
    }) || PHRASES.iter().any(|phrase| query.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_failure_are_recognised() {
        for query in [
            "payment declined",
            "Login FAILED",
            "request timed out",
            "user not found",
            "HTTP 503",
            "exceptions",
        ] {
            assert!(speaks_of_failure(query), "{query}");
        }
        for query in [
            "cancel an order",
            "charge the customer",
            "dead letter queue",
            "4711",
            "render the home page",
            "",
        ] {
            assert!(!speaks_of_failure(query), "{query}");
        }
    }
}
