//! Colour and width, where there is a terminal.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::sync::OnceLock;

use clap::ValueEnum;
use console::{Term, measure_text_width, truncate_str};

/// How wide lines are where no terminal says it.
const DEFAULT_WIDTH: usize = 120;
const LEAST_WIDTH: usize = 40;

/// When text is coloured.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Colour {
    Auto,
    Always,
    Never,
}

/// What the command line says; it is read once.
static COLOUR: OnceLock<Colour> = OnceLock::new();

pub fn choose_colour(colour: Colour) {
    // A second choice would be no user's.
    let _ = COLOUR.set(colour);
}

/// Colours a text, or leaves it as it is.
#[derive(Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    pub fn stdout() -> Paint {
        Paint::on(io::stdout().is_terminal())
    }

    pub fn stderr() -> Paint {
        Paint::on(io::stderr().is_terminal())
    }

    /// On a terminal, unless `NO_COLOR` is set to anything (no-color.org) or the terminal is dumb; or as it was chosen.
    fn on(terminal: bool) -> Paint {
        match COLOUR.get() {
            Some(Colour::Always) => return Paint(true),
            Some(Colour::Never) => return Paint(false),
            Some(Colour::Auto) | None => {}
        }
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Paint(terminal && !set("NO_COLOR") && !dumb)
    }

    pub fn red(self, text: &str) -> String {
        self.wrap("31", "39", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.wrap("33", "39", text)
    }

    pub fn bold(self, text: &str) -> String {
        self.wrap("1", "22", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.wrap("2", "22", text)
    }

    /// Each ends only itself, so that a bold word may stand in a red line.
    fn wrap(self, begin: &str, end: &str, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("\x1b[{begin}m{text}\x1b[{end}m") } else { text.to_owned() }
    }
}

/// A line on the standard error. Where that is closed or full, nobody can be told, and the work goes on.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
pub(crate) use tell;

/// The standard output, with few system calls.
pub fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// The columns of the terminal on the standard output; `None` where there is none, and nothing needs to be cut.
pub fn width() -> Option<usize> {
    let term = Term::stdout();
    if !term.is_term() {
        return None;
    }
    Some(term.size_checked().map_or(DEFAULT_WIDTH, |(_, columns)| usize::from(columns).max(LEAST_WIDTH)))
}

/// As [`width`]; behind a pipe, as into a pager, that of the terminal on the standard error, or else a usual one.
pub fn width_or_default() -> usize {
    let behind = || Some(Term::stderr()).filter(Term::is_term).and_then(|term| term.size_checked());
    width()
        .or_else(|| behind().map(|(_, columns)| usize::from(columns).max(LEAST_WIDTH)))
        .unwrap_or(DEFAULT_WIDTH)
}

/// The line within the terminal's columns; whole where there is no terminal.
pub fn cut(line: &str) -> String {
    width().map_or_else(|| line.to_owned(), |width| fit(line, width))
}

/// The text within so many columns, with `…` where something is left out.
pub fn fit(text: &str, columns: usize) -> String {
    truncate_str(text, columns, "…").into_owned()
}

/// A line in the terminal's columns, of which the middle is cut so that the end is still there.
pub fn fit_between(before: &str, text: &str, after: &str) -> String {
    let Some(width) = width() else { return format!("{before}{text}{after}") };
    let room = width.saturating_sub(measure_text_width(before) + measure_text_width(after));
    format!("{before}{}{after}", fit(text, room.max(LEAST_WIDTH / 2)))
}

/// How many columns the text takes.
pub fn columns(text: &str) -> usize {
    measure_text_width(text)
}

/// The text in exactly so many columns.
pub fn pad(text: &str, columns: usize) -> String {
    let mut text = fit(text, columns);
    let missing = columns.saturating_sub(measure_text_width(&text));
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

/// Text of others on one line, without the characters that would move the cursor, change colours or turn around what
/// follows.
pub fn one_line(text: &str) -> String {
    let printable = |character: char| if is_harmful(character) { ' ' } else { character };
    text.chars().map(printable).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Control characters, and those that decide the direction of writing.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A line of JSON. The same characters are escaped: the value stays, and a terminal is safe.
pub fn write_json(out: &mut impl Write, json: &str) -> io::Result<()> {
    let mut written = 0;
    for (at, character) in json.char_indices().filter(|(_, character)| is_harmful(*character)) {
        out.write_all(&json.as_bytes()[written..at])?;
        write!(out, "\\u{:04x}", u32::from(character))?;
        written = at + character.len_utf8();
    }
    out.write_all(&json.as_bytes()[written..])?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_does_nothing_to_a_terminal() {
        assert_eq!(one_line("a\u{1b}[2Jb\r\nc\u{9b}31m"), "a [2Jb c 31m");
        assert_eq!(one_line("pay\u{202e}txt.exe\u{2066}x\u{200f}"), "pay txt.exe x");
        let mut out = Vec::new();
        let json = serde_json::json!("\u{1b}\u{9b}\u{202e}é").to_string();
        write_json(&mut out, &json).expect("memory");
        assert_eq!(String::from_utf8_lossy(&out), "\"\\u001b\\u009b\\u202eé\"\n");
        assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), "\u{1b}\u{9b}\u{202e}é");
    }

    #[test]
    fn a_bold_word_leaves_a_red_line_red() {
        let paint = Paint(true);
        assert_eq!(paint.red(&format!("a {}", paint.bold("b"))), "\x1b[31ma \x1b[1mb\x1b[22m\x1b[39m");
        assert_eq!(Paint(false).red("a"), "a");
    }
}
