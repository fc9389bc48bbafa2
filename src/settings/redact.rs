//! The rules of the setting `redact`: `pattern=action`, as the user writes them.
//!
//! A rule is a glob or, between slashes, a regular expression. Rules come as a list, or as one text with commas.

use std::str::Chars;

use regex::{Regex, RegexBuilder};

use super::Settings;

/// What happens to an attribute whose key a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The attribute is left out.
    Drop,
    /// A keyed hash stands for the value.
    Hash,
    /// `***` stands for the value.
    Mask,
    /// The value stays, whatever an earlier rule says.
    Keep,
}

/// A rule that is ready to be asked.
#[derive(Debug)]
pub(crate) struct Rule {
    pattern: Pattern,
    action: Action,
}

/// Which keys a rule is for.
#[derive(Debug)]
enum Pattern {
    /// A glob in [`words`]: it fits all words of a key, or its last ones.
    Glob(String),
    /// An expression that is searched in the key as it is.
    Expression(Regex),
}

/// In a list, the rules that hold without a setting.
const DEFAULT: &str = "default";
/// In a list, no rule: an environment variable cannot say so by being empty.
const NONE: &str = "none";

/// The rules of a list in their order, `default` replaced by what it stands for.
///
/// # Errors
/// Names the first rule that is malformed, and says what is wrong with it.
pub(crate) fn compile(list: &[String]) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    for text in list.iter().flat_map(|text| split(text)) {
        match text {
            NONE => {}
            DEFAULT => {
                for text in Settings::default().redact.iter() {
                    rules.push(rule(text)?);
                }
            }
            _ => rules.push(rule(text)?),
        }
    }
    Ok(rules)
}

/// The rules of a text, between commas; a comma within a regular expression is part of it.
pub(super) fn split(text: &str) -> Vec<&str> {
    let mut rules = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|sign: char| sign == ',' || sign.is_whitespace());
        if rest.is_empty() {
            return rules;
        }
        let (rule, behind) = rest.split_at(end_of_rule(rest));
        rules.push(rule.trim_end());
        rest = behind;
    }
}

/// Where the first rule of `text` ends: at a comma, for an expression at the first one behind its `/=action`.
fn end_of_rule(text: &str) -> usize {
    let comma = |from: usize| text.get(from..)?.find(',').map(|at| from + at);
    if !text.starts_with('/') {
        return comma(0).unwrap_or(text.len());
    }
    let mut from = 1;
    while let Some(end) = comma(from) {
        let action = text.get(..end).and_then(|rule| rule.rsplit_once("/=")).map(|(_, action)| action.trim());
        if action.is_some_and(|action| action.bytes().all(|byte| byte.is_ascii_alphabetic())) {
            return end;
        }
        from = end + 1;
    }
    text.len()
}

fn rule(text: &str) -> Result<Rule, String> {
    let malformed = |reason: &str| format!("the rule `{}` {reason}", text.escape_debug());
    let (pattern, action) = text.rsplit_once('=').ok_or_else(|| {
        malformed("has no action: write `pattern=mask`, `pattern=hash`, `pattern=drop` or `pattern=keep`")
    })?;
    let action = match action.trim().to_ascii_lowercase().as_str() {
        "drop" => Action::Drop,
        "hash" => Action::Hash,
        "mask" => Action::Mask,
        "keep" => Action::Keep,
        _ => return Err(malformed("has an unknown action: there are `mask`, `hash`, `drop` and `keep`")),
    };
    let pattern = match pattern.trim() {
        "" => return Err(malformed("has no pattern")),
        slashes if slashes.starts_with('/') => {
            let expression = slashes.get(1..).and_then(|rest| rest.strip_suffix('/'));
            let expression = expression
                .filter(|expression| !expression.is_empty())
                .ok_or_else(|| malformed("needs a slash at both ends of its expression"))?;
            let compiled = RegexBuilder::new(expression).case_insensitive(true).build();
            Pattern::Expression(compiled.map_err(|error| {
                malformed(&format!("is no regular expression: {}", last_line(&error.to_string())))
            })?)
        }
        glob => {
            let words = words(glob, is_wildcard);
            if !words.contains(|sign: char| sign == '*' || sign.is_alphanumeric()) {
                return Err(malformed("has no letter, digit or `*`"));
            }
            Pattern::Glob(words)
        }
    };
    Ok(Rule { pattern, action })
}

/// The parser draws a picture of several lines; its last says what is wrong.
fn last_line(explanation: &str) -> &str {
    let line = explanation.lines().next_back().unwrap_or_default().trim();
    line.strip_prefix("error: ").unwrap_or(line)
}

fn is_wildcard(sign: char) -> bool {
    matches!(sign, '*' | '?')
}

/// Whether a glob fits the whole of `words`, or what follows a dot in it.
fn fits(glob: &str, words: &str) -> bool {
    let end = glob.trim_start_matches('*');
    if end.contains(is_wildcard) {
        return matches(glob.chars(), words.chars())
            || matches("*.".chars().chain(glob.chars()), words.chars());
    }
    // Of most rules the end decides, however long a key is.
    let starts_word = |before: &str| before.is_empty() || before.ends_with('.');
    words.strip_suffix(end).is_some_and(|before| glob.starts_with('*') || starts_word(before))
}

/// Whether a glob fits a text: `*` is any text, `?` one sign.
fn matches(mut glob: impl Iterator<Item = char> + Clone, mut text: Chars<'_>) -> bool {
    // Behind the last star, with the text from which it is to be tried next.
    let mut retry = None;
    loop {
        let mut ahead = glob.clone();
        match (ahead.next(), text.clone().next()) {
            (Some('*'), _) => {
                glob = ahead;
                retry = Some((glob.clone(), text.clone()));
            }
            (Some(wanted), Some(sign)) if wanted == '?' || wanted == sign => {
                glob = ahead;
                text.next();
            }
            (None, None) => return true,
            _ => {
                let Some((behind_star, from)) = &mut retry else { return false };
                if from.next().is_none() {
                    return false;
                }
                (glob, text) = (behind_star.clone(), from.clone());
            }
        }
    }
}

/// A key's words in lower case with dots between them: `X-Auth_Token`, `x.auth.token` and `xAuthToken` are the same.
fn words(key: &str, is_wildcard: impl Fn(char) -> bool) -> String {
    let mut words = String::with_capacity(key.len() + 4);
    let mut previous = '.';
    let mut signs = key.chars().peekable();
    while let Some(sign) = signs.next() {
        if !sign.is_alphanumeric() && !is_wildcard(sign) {
            if !words.is_empty() && !words.ends_with('.') {
                words.push('.');
            }
        } else {
            let next_is_lower = signs.peek().is_some_and(|next| next.is_lowercase());
            let starts_word = sign.is_uppercase()
                && (previous.is_lowercase()
                    || previous.is_numeric()
                    || (previous.is_uppercase() && next_is_lower));
            if starts_word && !words.ends_with('.') {
                words.push('.');
            }
            words.extend(sign.to_lowercase());
        }
        previous = sign;
    }
    // `user[password]` ends with a word.
    if words.ends_with('.') {
        words.pop();
    }
    words
}

/// What is to be done with attributes of this key: the last rule that matches decides, `None` where none does.
pub(crate) fn decide(rules: &[Rule], key: &str) -> Option<Action> {
    let words = words(key, |_| false);
    let matches = |rule: &&Rule| match &rule.pattern {
        Pattern::Glob(glob) => fits(glob, &words),
        Pattern::Expression(expression) => expression.is_match(key),
    };
    rules.iter().rev().find(matches).map(|rule| rule.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(rules: &str, key: &str) -> Option<Action> {
        decide(&compile(&[rules.to_owned()]).expect("valid rules"), key)
    }

    #[test]
    fn a_glob_fits_the_whole_key_or_its_last_words_however_they_are_written() {
        for key in [
            "api_key",
            "Api-Key",
            "apiKey",
            "APIKey",
            "x-api-key",
            "openai.api_key",
            "env[API_KEY]",
            "$api.key",
        ] {
            assert_eq!(decision("api_key=mask", key), Some(Action::Mask), "{key}");
        }
        for key in ["api_keys", "api_key.id", "key", "my_apikey", "rapid_key"] {
            assert_eq!(decision("api_key=mask", key), None, "{key}");
        }
    }

    #[test]
    fn a_star_is_any_text_and_a_question_mark_one_sign() {
        for (pattern, key, expected) in [
            ("*token*=drop", "llm.token_count", true),
            ("*token=drop", "accesstoken", true),
            ("*token=drop", "llm.token_count", false),
            ("card.*=drop", "payment.card.number", true),
            ("card.*=drop", "card", false),
            ("card.*=drop", "discard.number", false),
            ("pin?=drop", "pin1", true),
            ("pin?=drop", "pin", false),
            ("*=drop", "anything at all", true),
            ("a*b*c=drop", "x.aXXbYYbZc", true),
            ("a*b*c=drop", "x.aXXbYYb", false),
            ("schlüssel=drop", "SCHLÜSSEL", true),
        ] {
            assert_eq!(decision(pattern, key).is_some(), expected, "{pattern} {key}");
        }
    }

    #[test]
    fn a_glob_of_which_the_end_decides_fits_as_any_other() {
        let of_all = |glob: &str, words: &str| {
            matches(glob.chars(), words.chars()) || matches("*.".chars().chain(glob.chars()), words.chars())
        };
        for glob in ["a", "ab", "a.b", "*", "*a", "*ab", "**b", "*.a", "*a.b", "b*", "?b", "*?"] {
            for words in ["", "a", "b", "ab", "a.b", "b.ab", "bab", "b.a", "aa.b", "ba.b", "ab.", ".a"] {
                assert_eq!(fits(glob, words), of_all(glob, words), "{glob} {words}");
            }
        }
    }

    #[test]
    fn an_expression_is_searched_in_the_key_as_it_is() {
        for (key, expected) in [
            ("card.number", true),
            ("Card.CVC", true),
            ("payment.card.number", false),
            ("card_number", false),
        ] {
            assert_eq!(decision(r"/^card\.(number|cvc)$/=hash", key).is_some(), expected, "{key}");
        }
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        assert_eq!(decision("default, page_token=keep", "page_token"), Some(Action::Keep));
        assert_eq!(decision("default, page_token=keep", "auth_token"), Some(Action::Mask));
        assert_eq!(decision("password=drop, default", "password"), Some(Action::Mask));
        assert_eq!(decision("none", "password"), None);
    }

    #[test]
    fn commas_part_rules_but_not_an_expression() {
        for (text, expected) in [
            ("a=mask,b=drop", &["a=mask", "b=drop"][..]),
            (" a=mask , , b=drop,", &["a=mask", "b=drop"]),
            (r"/^\d{1,3}$/=hash, b=drop", &[r"/^\d{1,3}$/=hash", "b=drop"]),
            ("/a,b/=mask,/c,d/=drop", &["/a,b/=mask", "/c,d/=drop"]),
            ("/a,b", &["/a,b"]),
            ("", &[]),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }
}
