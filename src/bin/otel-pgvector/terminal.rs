//! Colour and width, where there is a terminal.

use std::io::{self, BufWriter, IsTerminal, StdoutLock};

use console::{Term, measure_text_width, truncate_str};

/// How wide lines are where no terminal says it.
const DEFAULT_WIDTH: usize = 120;
const LEAST_WIDTH: usize = 40;

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

    /// On a terminal, unless `NO_COLOR` is set to anything (no-color.org) or the terminal is dumb.
    fn on(terminal: bool) -> Paint {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Paint(terminal && !set("NO_COLOR") && !dumb)
    }

    pub fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

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

/// As [`width`], with a usual one where there is no terminal.
pub fn width_or_default() -> usize {
    width().unwrap_or(DEFAULT_WIDTH)
}

/// The text within so many columns, with `…` where something is left out.
pub fn fit(text: &str, columns: usize) -> String {
    truncate_str(text, columns, "…").into_owned()
}

/// The text in exactly so many columns.
pub fn pad(text: &str, columns: usize) -> String {
    let mut text = fit(text, columns);
    let missing = columns.saturating_sub(measure_text_width(&text));
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

/// Text of others on one line, without the control characters that would move the cursor or change colours.
pub fn one_line(text: &str) -> String {
    let printable = |character: char| if character.is_control() { ' ' } else { character };
    text.chars().map(printable).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}
