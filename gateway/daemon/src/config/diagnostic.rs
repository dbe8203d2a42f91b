//! Errors and warnings a technician can act on: where, what, and what to write instead.
//!
//! ```text
//! error: unknown key `unti`
//!   --> site.toml:12:1
//!    |
//! 12 | unti = 3
//!    | ^^^^
//!    = help: did you mean `unit`?
//! ```
//!
//! Columns count characters; the caret line counts the cells of a terminal, so that it stands under the right
//! character in a line with Chinese text.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A file as it was read, for its name and its lines.
#[derive(Debug)]
pub struct Source {
    /// How it is called in messages.
    pub name: String,
    /// All of it.
    pub text: String,
}

impl Source {
    /// Wraps a text that was read from `name`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }
}

/// Whether the site can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, and somebody should know.
    Warning,
}

/// One thing that is wrong or remarkable.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, in one line.
    pub message: String,
    /// What to write or do instead.
    pub help: Option<String>,
    place: Option<(Arc<Source>, Range<usize>)>,
}

/// Everything that was found, in the order of files and lines.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was found, in the order it was found.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Adds an error at a place of a file and returns it for its help text.
    pub fn error(&mut self, source: &Arc<Source>, at: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Error, Some((source.clone(), at)), message.into())
    }

    /// Adds a warning at a place of a file.
    pub fn warning(&mut self, source: &Arc<Source>, at: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Warning, Some((source.clone(), at)), message.into())
    }

    /// Adds an error that has no place, such as a file that cannot be read.
    pub fn error_without_place(&mut self, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Error, None, message.into())
    }

    fn add(
        &mut self,
        severity: Severity,
        place: Option<(Arc<Source>, Range<usize>)>,
        message: String,
    ) -> &mut Diagnostic {
        self.diagnostics.push(Diagnostic { severity, message, help: None, place });
        self.diagnostics.last_mut().expect("one was pushed in the line above")
    }

    /// Whether there is an error among them.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many there are of a kind.
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == severity).count()
    }

    /// Sorts by place: those without one first, then file by file in the order the files were first named.
    pub fn sort(&mut self) {
        let mut files: Vec<String> = Vec::new();
        for (source, _) in self.diagnostics.iter().filter_map(|d| d.place.as_ref()) {
            if !files.contains(&source.name) {
                files.push(source.name.clone());
            }
        }
        self.diagnostics.sort_by_key(|d| {
            d.place.as_ref().map(|(source, at)| (files.iter().position(|f| *f == source.name), at.start))
        });
    }
}

impl Diagnostic {
    /// Says what to write or do instead.
    pub fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }

    /// Whether the site cannot be run with it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// `file:line:column`; empty if it has no place.
    pub fn place(&self) -> String {
        match &self.place {
            Some((source, at)) => {
                let place = Place::of(&source.text, at);
                format!("{}:{}:{}", source.name, place.line_number, place.column)
            }
            None => String::new(),
        }
    }
}

impl fmt::Display for Report {
    /// Every diagnostic, then one line with their numbers; empty if there are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            writeln!(f, "{diagnostic}\n")?;
        }
        let count = |n: usize, word: &str| match n {
            0 => None,
            1 => Some(format!("1 {word}")),
            n => Some(format!("{n} {word}s")),
        };
        let totals = [count(self.count(Severity::Error), "error"), count(self.count(Severity::Warning), "warning")];
        let totals: Vec<String> = totals.into_iter().flatten().collect();
        if totals.is_empty() { Ok(()) } else { writeln!(f, "{}", totals.join(", ")) }
    }
}

impl std::error::Error for Report {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{word}: {}", self.message)?;
        let mut margin = 1;
        if let Some((source, at)) = &self.place {
            let place = Place::of(&source.text, at);
            margin = place.line_number.to_string().len();
            let gutter = " ".repeat(margin);
            write!(f, "\n{gutter}--> {}:{}:{}", source.name, place.line_number, place.column)?;
            write!(f, "\n{gutter} |\n{} | {}", place.line_number, place.line)?;
            write!(f, "\n{gutter} | {}{}", " ".repeat(place.indent), "^".repeat(place.width))?;
        }
        match &self.help {
            Some(help) => write!(f, "\n{} = help: {help}", " ".repeat(margin)),
            None => Ok(()),
        }
    }
}

/// A span as people see it.
struct Place {
    line_number: usize,
    column: usize,
    line: String,
    indent: usize,
    width: usize,
}

impl Place {
    fn of(text: &str, at: &Range<usize>) -> Self {
        let start = floor_boundary(text, at.start);
        let end = floor_boundary(text, at.end.max(at.start));
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        let line = text[line_start..line_end].trim_end_matches('\r');
        let before = &text[line_start..start];
        // A span over several lines (a whole table) is marked on its first line only.
        let marked = &text[start..end.min(line_start + line.len()).max(start)];
        Self {
            line_number: text[..start].matches('\n').count() + 1,
            column: before.chars().count() + 1,
            line: conceal(line).replace('\t', "    "),
            indent: cells(before),
            width: cells(marked).max(1),
        }
    }
}

/// The line with stars for whatever may be a secret somebody wrote into it: messages end up in logs. Every character
/// keeps its width, so that the caret still stands right.
fn conceal(line: &str) -> String {
    const KEYS: [&str; 4] = ["token", "password", "secret", "postgres"];
    let mut shown: Vec<char> = line.chars().collect();
    let mut hide = |from: usize, to: usize| {
        let (from, to) = (line[..from].chars().count(), line[..to].chars().count());
        for c in &mut shown[from..to] {
            *c = '*';
        }
    };
    for (at, _) in line.match_indices('=') {
        let key = line[..at].trim_end();
        let rest = &line[at + 1..];
        let quote = rest.trim_start().chars().next().filter(|c| matches!(c, '"' | '\''));
        if let Some(quote) = quote.filter(|_| KEYS.iter().any(|k| key.ends_with(k))) {
            let from = at + 1 + rest.find(quote).unwrap_or_default() + 1;
            hide(from, line[from..].find(quote).map_or(line.len(), |length| from + length));
        }
    }
    for (at, _) in line.match_indices("://") {
        let host = line[at + 3..].split(['/', '"', '\'']).next().unwrap_or_default();
        if let Some(user) = host.rfind('@') {
            hide(at + 3, at + 3 + user);
        }
    }
    shown.into_iter().collect()
}

/// The nearest character boundary at or before `index`.
fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// How many cells of a terminal a text takes: East Asian wide characters take two, a tab is printed as four.
fn cells(text: &str) -> usize {
    text.chars()
        .map(|c| match c {
            '\t' => 4,
            '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' => 2,
            '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' => 2,
            '\u{ffe0}'..='\u{ffe6}' | '\u{20000}'..='\u{3fffd}' => 2,
            _ => 1,
        })
        .sum()
}

/// "did you mean `x`?" for the nearest of `known`, or the list of them when nothing is near.
pub fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    /// Longer lists help nobody; the example site and the schema have them all.
    const LISTED_MAX: usize = 14;
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known.iter().map(|k| (edit_distance(wrong, k), *k)).min();
    match nearest {
        None => "there is none yet".to_owned(),
        Some((distance, name)) if distance <= 1 + wrong.chars().count() / 3 => format!("did you mean `{name}`?"),
        Some(_) => {
            let listed: Vec<String> = known.iter().take(LISTED_MAX).map(|k| format!("`{k}`")).collect();
            let more = if known.len() > LISTED_MAX { ", ..." } else { "" };
            format!("there is {}{more}", listed.join(", "))
        }
    }
}

/// Damerau's distance: insertions, deletions, replacements and swaps of neighbours.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_word_in_a_chinese_line() {
        let source = Source::new("site.toml", "a = 1\nname = { zh = \"商场\", en = 3 }\n");
        let at = source.text.find('3').map(|i| i..i + 1).expect("the text has a 3");
        let mut report = Report::default();
        report.error(&source, at, "not a text").help("write \"3\"");
        let expected = "error: not a text\n --> site.toml:2:26\n  |\n2 | name = { zh = \"商场\", en = 3 }\n  \
                        |                            ^\n  = help: write \"3\"\n\n1 error\n";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn a_secret_in_the_line_is_not_printed_again() {
        assert_eq!(conceal("token = \"abc\""), "token = \"***\"");
        assert_eq!(conceal("x = { password='密码', a = 1 }"), "x = { password='**', a = 1 }");
        assert_eq!(conceal("url = \"https://u:p@host/a\""), "url = \"https://***@host/a\"");
        assert_eq!(conceal("token = { file = \"path\" }"), "token = { file = \"path\" }");
        assert_eq!(conceal("secret = \"open end"), "secret = \"********");
    }

    #[test]
    fn a_span_past_the_end_of_the_text_does_not_panic() {
        let source = Source::new("x", "é");
        let mut report = Report::default();
        report.error(&source, 1..99, "broken");
        assert!(report.to_string().contains("x:1:1"));
    }

    #[test]
    fn typing_errors_are_recognised() {
        assert_eq!(suggest("unti", ["unit", "line"]), "did you mean `unit`?");
        assert_eq!(suggest("rs485a", ["rs485-a", "rs485-b"]), "did you mean `rs485-a`?");
        assert_eq!(suggest("colour", ["unit", "line"]), "there is `unit`, `line`");
        assert_eq!(suggest("x", []), "there is none yet");
    }
}
