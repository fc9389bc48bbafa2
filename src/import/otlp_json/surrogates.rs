//! Halves of characters beyond U+FFFF: JavaScript writes one where it cuts a text within such a character, and no UTF-8
//! has it.

/// How long the escape of a UTF-16 unit is, `\uXXXX`.
const ESCAPE: usize = 6;

/// The text with `\ufffd` (U+FFFD, the replacement character) for each escaped half without its other one; `None` where
/// there is none.
pub(in crate::import) fn mended(text: &[u8]) -> Option<Vec<u8>> {
    let mut mended: Option<Vec<u8>> = None;
    let mut at = 0;
    while at < text.len() {
        if text[at] != b'\\' {
            at += 1;
            continue;
        }
        match (unit(text, at), unit(text, at + ESCAPE)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 2 * ESCAPE,
            (Some(0xd800..=0xdfff), _) => {
                let text = mended.get_or_insert_with(|| text.to_vec());
                text[at..at + ESCAPE].copy_from_slice(b"\\ufffd");
                at += ESCAPE;
            }
            // Any other escape, so that the second of two backslashes begins none.
            _ => at += 2,
        }
    }
    mended
}

/// The UTF-16 unit whose escape begins here.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_halves_without_their_other_one_are_replaced() {
        for (text, expected) in [
            (r#""cut \ud83d""#, Some(r#""cut \ufffd""#)),
            (r#""\uDE00 \ud83d\ud83d\ude00\ud83d""#, Some(r#""\ufffd \ufffd\ud83d\ude00\ufffd""#)),
            (r#""\\\ud83d\\ude00""#, Some(r#""\\\ufffd\\ude00""#)),
            (r#""\ud83d\ude00""#, None),
            (r#""C:\\ud83d \"\\\\ud83d""#, None),
            (r#""é \u00e9 \ud83"#, None),
            (r"\ud83d", Some(r"\ufffd")),
            ("\\", None),
        ] {
            let mended = mended(text.as_bytes()).map(|text| String::from_utf8(text).expect("UTF-8"));
            assert_eq!(mended.as_deref(), expected, "{text}");
        }
    }
}
