//! A line on a terminal that says how far something is.

use std::io::{self, IsTerminal as _, Write as _};

/// Shown on stderr, and only where that is a terminal.
pub struct Progress {
    is_shown: bool,
    /// What the line says.
    line: String,
}

impl Progress {
    pub fn new() -> Progress {
        Progress {
            is_shown: io::stderr().is_terminal(),
            line: String::new(),
        }
    }

    /// Says that `done` of `total` are done, in whole percents, and what else is to say of that.
    pub fn show(&mut self, done: u64, total: u64, text: impl FnOnce() -> String) {
        const WIDTH: u64 = 40;
        let percent = 100 * done.min(total) / total.max(1);
        let bar = (WIDTH * percent / 100) as usize;
        let bar = format!("{}{}", "#".repeat(bar), "-".repeat(WIDTH as usize - bar));
        let begin = format!("[{bar}] {percent:>3} %");
        if !self.is_shown || self.line == begin {
            return;
        }
        // A bar that cannot be drawn is not missed.
        let _ = write!(io::stderr(), "\r{begin}  {}", text());
        self.line = begin;
    }

    /// What is said next has a line of its own.
    pub fn end(&mut self) {
        if !self.line.is_empty() {
            self.line.clear();
            let _ = writeln!(io::stderr());
        }
    }
}
