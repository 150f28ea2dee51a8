//! Progress: live on a terminal, plain lines when piped, nothing when asked to be silent.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eryx_embed::Compiling;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Tells of a component that is being compiled: live on a terminal, else by two lines, or not at all if those are not
/// wanted.
#[must_use]
pub fn compiling(plain_lines: bool) -> eryx_embed::OnCompile {
    let terminal = std::io::stderr().is_terminal();
    let bar: Mutex<Option<ProgressBar>> = Mutex::new(None);
    Arc::new(move |event| {
        let Ok(mut bar) = bar.lock() else { return };
        match event {
            Compiling::Begun(name, bytes) => {
                let text = format!("compiling `{name}`, {} (only the first time)", size(bytes));
                if terminal {
                    let spinner = ProgressBar::new_spinner();
                    if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}  {elapsed}") {
                        spinner.set_style(style);
                    }
                    spinner.set_message(text);
                    spinner.enable_steady_tick(Duration::from_millis(200));
                    *bar = Some(spinner);
                } else if plain_lines {
                    let _ = writeln!(std::io::stderr(), "{text}");
                }
            }
            Compiling::Ended(elapsed) => {
                if let Some(spinner) = bar.take() {
                    spinner.finish_and_clear();
                } else if plain_lines {
                    let _ = writeln!(std::io::stderr(), "compiled in {}", seconds(elapsed));
                }
            }
            _ => {}
        }
    })
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was in the cache.
    Hit,
    /// It was run.
    Built,
    /// It failed.
    Failed,
}

/// One line of the timing table.
#[derive(Debug, Clone)]
pub struct Timing {
    /// The step's name.
    pub step: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it ran.
    pub elapsed: Duration,
}

/// Tells the user what goes on, on standard error.
pub struct Report {
    style: Style,
    started: Instant,
    timings: Mutex<Vec<Timing>>,
    warnings: Mutex<Vec<String>>,
}

enum Style {
    Terminal(MultiProgress),
    Plain,
    Silent,
}

/// A step that is running; tells its end when it is told of it.
pub struct Running<'r> {
    report: &'r Report,
    step: String,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Report {
    /// Live when standard error is a terminal, else plain lines.
    #[must_use]
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self::with(if terminal { Style::Terminal(MultiProgress::new()) } else { Style::Plain })
    }

    /// Says nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self::with(Style::Silent)
    }

    fn with(style: Style) -> Self {
        Self { style, started: Instant::now(), timings: Mutex::default(), warnings: Mutex::default() }
    }

    /// Tells that a step starts.
    #[must_use]
    pub fn start(&self, step: &str) -> Running<'_> {
        let bar = match &self.style {
            Style::Terminal(bars) => {
                let bar = bars.add(ProgressBar::new_spinner());
                // The template is a constant of ours: a fallback to the default style loses nothing.
                if let Ok(style) = ProgressStyle::with_template("  {spinner} {prefix}  {elapsed}  {msg}") {
                    bar.set_style(style);
                }
                bar.set_prefix(step.to_owned());
                bar.enable_steady_tick(Duration::from_millis(200));
                Some(bar)
            }
            Style::Plain => {
                self.line(&format!("start    {step}"));
                None
            }
            Style::Silent => None,
        };
        Running { report: self, step: step.to_owned(), since: Instant::now(), bar }
    }

    /// Notes a step that needs no work.
    pub fn hit(&self, step: &str) {
        self.record(step, Outcome::Hit, Duration::ZERO);
    }

    /// Prints a line above the live display.
    pub fn line(&self, text: &str) {
        match &self.style {
            // A closed standard error must not end a build.
            Style::Terminal(bars) => drop(bars.println(text)),
            Style::Plain => drop(writeln!(std::io::stderr(), "{text}")),
            Style::Silent => {}
        }
    }

    /// Shows what the code of a user printed during a build.
    pub fn printed(&self, text: &str) {
        for line in text.lines() {
            self.line(&format!("printed  {}", visible(line)));
        }
    }

    /// Prints a line that begins with `warning: `.
    pub fn warning(&self, text: &str) {
        self.line(&format!("warning: {text}"));
        if let Ok(mut warnings) = self.warnings.lock() {
            warnings.push(text.to_owned());
        }
    }

    /// The warnings so far.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().map(|warnings| warnings.clone()).unwrap_or_default()
    }

    /// What was told so far, in order of completion.
    #[must_use]
    pub fn timings(&self) -> Vec<Timing> {
        self.timings.lock().map(|timings| timings.clone()).unwrap_or_default()
    }

    /// The time since this report was made.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn record(&self, step: &str, outcome: Outcome, elapsed: Duration) {
        if let Ok(mut timings) = self.timings.lock() {
            timings.push(Timing { step: step.to_owned(), outcome, elapsed });
        }
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

impl Running<'_> {
    /// Shows what the step is doing at the moment (terminal only).
    pub fn doing(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    /// Tells that the step ended.
    pub fn end(self, outcome: Outcome) {
        let elapsed = self.since.elapsed();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let word = match outcome {
            Outcome::Hit => "hit",
            Outcome::Built => "built",
            Outcome::Failed => "failed",
        };
        self.report.line(&format!("{word:<8} {}  {}", self.step, seconds(elapsed)));
        self.report.record(&self.step, outcome, elapsed);
    }
}

/// A line that may come from anywhere, with a mark in the place of each control character but tabs.
#[must_use]
pub fn visible(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// A duration as a person reads it: `0.4 s`, `3 min 20 s`.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

/// A size in bytes as a person reads it: `812 B`, `1.5 KiB`, `26.9 MiB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_from_elsewhere_do_not_reach_the_terminal_s_commands() {
        assert_eq!(visible("a\tb \u{1b}[31mred\r ä"), "a\tb \u{fffd}[31mred\u{fffd} ä");
    }

    #[test]
    fn sizes_and_times_read_well() {
        assert_eq!(size(812), "812 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(28_200_000), "26.9 MiB");
        assert_eq!(seconds(Duration::from_millis(420)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(200)), "3 min 20 s");
    }
}
