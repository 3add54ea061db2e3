//! `tandem top`: the node on one screen, drawn anew each second.
//!
//! The terminal is put into its raw form and back by a guard, whatever ends the program short of a kill. Without a terminal the screen is
//! printed once.

use std::io::{self, IsTerminal, Read};
use std::time::{Duration, Instant};

use control::{Status, path};
use rustix::termios::{self, OptionalActions, SpecialCodeIndex, Termios};

use super::{Call, now};
use crate::args::SortBy;
use crate::exit::{Code, Failure};
use crate::screen;

/// Between two looks at the daemon.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks at the keyboard.
const KEY_INTERVAL: Duration = Duration::from_millis(50);
/// Lines where the terminal does not tell.
const LINES: usize = 24;

/// Another screen, without a cursor, that cuts long lines; and back.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";
/// To the upper left.
const HOME: &str = "\x1b[H";
/// The rest of the line, the rest of the screen.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Quit,
    Sort(SortBy),
    Nothing,
}

impl Call {
    /// Shows the node until it is told to stop; once with `once`, or where nobody could press a key.
    pub(crate) async fn top(mut self, once: bool, sort: SortBy) -> Result<Code, Failure> {
        if once || self.json || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            let (status, raw): (Status, serde_json::Value) = self.get(path::STATUS).await?;
            if self.json {
                self.output.json(&raw)?;
            } else {
                self.output
                    .screen(&screen::top(&status, sort, None, now()))?;
            }
            return Ok(Code::Good);
        }
        let raw = RawTerminal::enter()?;
        self.output.raw(ENTER)?;
        let ended = self.follow_node(sort).await;
        // The screen of before comes back also after a failure, which is then told there.
        let left = self.output.raw(LEAVE);
        drop(raw);
        ended.and(left.map(|()| Code::Good))
    }

    async fn follow_node(&mut self, mut sort: SortBy) -> Result<Code, Failure> {
        let mut shown: Result<Status, String> = Err("asking the daemon".to_owned());
        let mut look_at = Instant::now();
        loop {
            let mut changed = false;
            if look_at <= Instant::now() {
                // A daemon that restarts is waited for.
                let asked = self.get::<Status>(path::STATUS).await;
                shown = asked
                    .map(|(status, _)| status)
                    .map_err(|failure| failure.to_string());
                look_at = Instant::now() + INTERVAL;
                changed = true;
            }
            match wish()? {
                Wish::Quit => return Ok(Code::Good),
                Wish::Sort(by) => (sort, changed) = (by, true),
                Wish::Nothing => {}
            }
            if changed {
                let lines = lines_of_terminal();
                let text = match &shown {
                    Ok(status) => screen::top(status, sort, Some(lines), now()),
                    Err(error) => format!("{error}\n"),
                };
                self.output.raw(drawn(&text, lines).as_bytes())?;
            }
            tokio::time::sleep(KEY_INTERVAL).await;
        }
    }
}

/// A screen over the one before, line by line, so that nothing flickers. Control characters of others do not get through.
fn drawn(text: &str, lines: usize) -> String {
    let mut out = HOME.to_owned();
    for (number, line) in text.lines().take(lines).enumerate() {
        if number > 0 {
            out.push_str("\r\n");
        }
        out.extend(line.chars().map(|c| if c.is_control() { '?' } else { c }));
        out.push_str(CLEAR_LINE);
    }
    out.push_str(CLEAR_REST);
    out
}

/// The keys that were pressed: the last that means something, but the end comes first.
fn wish() -> Result<Wish, Failure> {
    let mut keys = [0; 32];
    let count = io::stdin().read(&mut keys)?;
    let wishes = keys[..count].iter().map(|key| match key {
        // Ctrl-C and Ctrl-D are keys like others in the raw form.
        b'q' | b'Q' | 0x03 | 0x04 => Wish::Quit,
        key => SortBy::of_key(char::from(*key)).map_or(Wish::Nothing, Wish::Sort),
    });
    Ok(
        wishes.fold(Wish::Nothing, |before, wish| match (before, wish) {
            (Wish::Quit, _) | (_, Wish::Quit) => Wish::Quit,
            (before, Wish::Nothing) => before,
            (_, Wish::Sort(by)) => Wish::Sort(by),
        }),
    )
}

fn lines_of_terminal() -> usize {
    let size = termios::tcgetwinsize(io::stdout());
    size.map_or(LINES, |size| usize::from(size.ws_row)).max(1)
}

/// The terminal gives each key at once and shows none, as long as this lives.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn enter() -> io::Result<Self> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        // A look at the keyboard does not wait for a key.
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // There is nowhere left to say that the terminal is gone.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_drawn_over_the_one_before_and_no_longer_than_the_terminal() {
        assert_eq!(
            drawn("one\ntwo\nthree\n", 2),
            "\u{1b}[Hone\u{1b}[K\r\ntwo\u{1b}[K\u{1b}[J"
        );
        assert_eq!(drawn("a\u{1b}[31mb", 5), "\u{1b}[Ha?[31mb\u{1b}[K\u{1b}[J");
    }
}
