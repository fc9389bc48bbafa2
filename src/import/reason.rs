//! Why something was not understood, in a length that can be read.

/// The longest reason, in characters.
const LONGEST: usize = 400;
/// What stays of the end of a longer one, where the parser says the place.
const END: usize = 80;

/// The reason without the middle of a value that it quotes, which may be megabytes.
pub(super) fn shortened(reason: String) -> String {
    let count = reason.chars().count();
    if count <= LONGEST {
        return reason;
    }
    let beginning = reason.chars().take(LONGEST - END - 1);
    beginning.chain(['…']).chain(reason.chars().skip(count - END)).collect()
}
