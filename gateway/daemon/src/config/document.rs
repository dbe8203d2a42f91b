//! A TOML file taken apart table by table, so that one mistake does not hide the next.
//!
//! `serde` stops at the first error of a value, and an internally tagged enum loses the place of it. So the text is
//! parsed once into a tree that knows where everything stands; the JSON Schema of the raw mirror finds every unknown
//! and every missing key of a table; then each table is deserialised on its own. Whatever is left over at the end
//! belongs to no table of the format and is an error too.

use std::collections::BTreeSet;
use std::ops::{Deref, Range};
use std::sync::Arc;

use serde::de::{DeserializeOwned, IntoDeserializer};
use serde_json::Value as Schema;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::{Report, Source, suggest};

/// The most characters of a name that ends up in topics, labels and URLs.
pub const NAME_CHARS_MAX: usize = 64;

/// One table of the file.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    /// Its name, for `[device.m-101]`; empty for the others.
    pub key: Arc<str>,
    /// Its header, or its name in the header.
    pub at: Range<usize>,
    /// What it says.
    pub value: T,
}

impl<T> Deref for Entry<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A parsed file from which tables are taken one after the other.
pub struct Document<'a> {
    source: &'a Arc<Source>,
    schema: &'a Schema,
    table: DeTable<'a>,
    taken: BTreeSet<String>,
    /// The names of tables that are wrong: they exist, so whoever refers to one of them is not wrong besides.
    broken: BTreeSet<String>,
}

impl<'a> Document<'a> {
    /// Parses the text. Syntax errors are all reported, and end it: what could be made of the rest would only
    /// mislead.
    pub fn parse(source: &'a Arc<Source>, schema: &'a Schema, report: &mut Report) -> Option<Self> {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        let mut twin_line = None;
        for error in &errors {
            let at = error.span().unwrap_or(0..0);
            let line = source.text.bytes().take(at.start).filter(|b| *b == b'\n').count();
            let is_twin = error.message() == "duplicate key";
            // Below a table that stands twice every key does too; the table is what matters.
            if !(is_twin && twin_line.is_some_and(|twin| line == twin + 1)) {
                let diagnostic = report.error(source, at, error.message());
                if is_twin {
                    diagnostic.help("it stands further up already: rename or remove one of them");
                }
            }
            twin_line = is_twin.then_some(line);
        }
        errors.is_empty().then(|| Self {
            source,
            schema,
            table: table.into_inner(),
            taken: BTreeSet::new(),
            broken: BTreeSet::new(),
        })
    }

    /// Takes the table `[name]`. `None` if it is not there or not right.
    pub fn one<T: DeserializeOwned>(&mut self, name: &str, report: &mut Report) -> Option<Entry<T>> {
        let (key, value) = self.take(name)?;
        let schema = self.section(name);
        self.entry("".into(), key.span(), value, schema, report)
    }

    /// Takes every table `[name.x]`, in the file's order.
    pub fn named<T: DeserializeOwned>(&mut self, name: &str, report: &mut Report) -> Vec<Entry<T>> {
        let Some((key, value)) = self.take(name) else { return Vec::new() };
        let DeValue::Table(tables) = value.into_inner() else {
            report
                .error(self.source, key.span(), format!("`{name}` needs one table for each"))
                .help(format!("write [{name}.<name>] and its keys below"));
            return Vec::new();
        };
        let schema = self.section(name).map(|s| &s["additionalProperties"]);
        let mut tables: Vec<_> = tables.into_iter().collect();
        tables.sort_by_key(|(key, value)| (key.span().start, value.span().start));
        let mut entries = Vec::new();
        for (key, value) in tables {
            check_name(key.get_ref(), key.span(), self.source, report);
            match self.entry(key.get_ref().as_ref().into(), key.span(), value, schema, report) {
                Some(entry) => entries.push(entry),
                None => drop(self.broken.insert(key.get_ref().to_string())),
            }
        }
        entries
    }

    /// Takes every `[[name]]`, in the file's order.
    pub fn list<T: DeserializeOwned>(&mut self, name: &str, report: &mut Report) -> Vec<Entry<T>> {
        let Some((key, value)) = self.take(name) else { return Vec::new() };
        let DeValue::Array(items) = value.into_inner() else {
            report.error(self.source, key.span(), format!("`{name}` is a list")).help(format!("write [[{name}]]"));
            return Vec::new();
        };
        let schema = self.section(name).map(|s| &s["items"]);
        items
            .into_iter()
            .filter_map(|item| {
                let at = item.span();
                self.entry("".into(), at, item, schema, report)
            })
            .collect()
    }

    /// Takes everything that is left as one value; for the keys before a file's first table.
    pub fn rest<T: DeserializeOwned>(mut self, report: &mut Report) -> Option<Entry<T>> {
        let table = std::mem::take(&mut self.table);
        let value = Spanned::new(0..0, DeValue::Table(table));
        self.entry("".into(), 0..0, value, Some(self.schema), report)
    }

    /// Reports every table that nobody took, and every one that is missing. Returns the names of broken tables.
    pub fn finish(mut self, report: &mut Report) -> BTreeSet<String> {
        for name in self.schema["required"].as_array().into_iter().flatten().filter_map(Schema::as_str) {
            if !self.taken.contains(name) {
                let end = self.source.text.trim_end().len();
                let diagnostic = report.error(self.source, end..end, format!("the table [{name}] is missing"));
                if let Some(what) = self.schema["properties"][name]["description"].as_str() {
                    diagnostic.help(format!("[{name}]: {what}"));
                }
            }
        }
        for (key, value) in &self.table {
            if let DeValue::Table(tables) = value.get_ref() {
                self.broken.extend(tables.keys().map(|name| name.get_ref().to_string()));
            }
            let known = self.schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
            report
                .error(self.source, key.span(), format!("unknown table `{}`", key.get_ref()))
                .help(suggest(key.get_ref(), known));
        }
        self.broken
    }

    fn take(&mut self, name: &str) -> Option<(Spanned<DeString<'a>>, Spanned<DeValue<'a>>)> {
        let taken = self.table.remove_entry(name)?;
        self.taken.insert(name.to_owned());
        Some(taken)
    }

    fn section(&self, name: &str) -> Option<&'a Schema> {
        self.schema["properties"].get(name).map(|s| resolve(self.schema, s))
    }

    fn entry<T: DeserializeOwned>(
        &self,
        key: Arc<str>,
        at: Range<usize>,
        mut value: Spanned<DeValue<'a>>,
        schema: Option<&Schema>,
        report: &mut Report,
    ) -> Option<Entry<T>> {
        let complete = match (schema, value.get_mut()) {
            (Some(schema), value) => self.check_keys(schema, value, &at, report),
            (None, _) => true,
        };
        if !complete {
            return None;
        }
        let fallback = at.clone();
        let deserializer: toml::de::ValueDeserializer<'_> = value.into_deserializer();
        match T::deserialize(deserializer) {
            Ok(value) => Some(Entry { key, at, value }),
            Err(error) => {
                let (message, help) = split_help(error.message());
                let diagnostic = report.error(self.source, error.span().unwrap_or(fallback), message);
                diagnostic.help = help;
                None
            }
        }
    }

    /// Removes and reports unknown keys, reports missing ones. False if the value cannot be deserialised for them.
    fn check_keys(&self, schema: &Schema, value: &mut DeValue<'a>, at: &Range<usize>, report: &mut Report) -> bool {
        let schema = resolve(self.schema, schema);
        match value {
            DeValue::Table(table) => self.check_table(schema, table, at, report),
            DeValue::Array(items) => match schema.get("items") {
                Some(schema) => items.iter_mut().fold(true, |complete, item| {
                    let at = item.span();
                    self.check_keys(schema, item.get_mut(), &at, report) && complete
                }),
                None => true,
            },
            _ => true,
        }
    }

    fn check_table(&self, schema: &Schema, table: &mut DeTable<'a>, at: &Range<usize>, report: &mut Report) -> bool {
        let Some(properties) = schema["properties"].as_object() else {
            let Some(inner) = schema.get("additionalProperties").filter(|s| s.is_object()) else { return true };
            return table.iter_mut().fold(true, |complete, (key, value)| {
                self.check_keys(inner, value.get_mut(), &key.span(), report) && complete
            });
        };
        let mut complete = true;
        let mut unknown: Vec<Spanned<DeString<'a>>> = Vec::new();
        for (key, value) in table.iter_mut() {
            match properties.get(key.get_ref().as_ref()) {
                Some(schema) => complete &= self.check_keys(schema, value.get_mut(), &key.span(), report),
                None => unknown.push(key.clone()),
            }
        }
        for key in unknown {
            table.remove(key.get_ref().as_ref());
            // What the key should have said is not known, so the rest of the table cannot be judged either.
            complete = false;
            let known = properties.keys().map(String::as_str);
            report
                .error(self.source, key.span(), format!("unknown key `{}`", key.get_ref()))
                .help(suggest(key.get_ref(), known));
        }
        // What was taken from the whole file is not missing there.
        let is_whole_file = std::ptr::eq(schema, self.schema);
        let is_there =
            |table: &DeTable<'a>, key: &str| table.contains_key(key) || is_whole_file && self.taken.contains(key);
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Schema::as_str) {
            if !is_there(table, key) {
                let diagnostic = report.error(self.source, at.clone(), format!("the key `{key}` is missing"));
                if let Some(what) = properties[key]["description"].as_str() {
                    diagnostic.help(format!("`{key}`: {}", what.replace('\n', " ")));
                }
                complete = false;
            }
        }
        complete
    }
}

/// Follows a reference, and looks through "this or null".
fn resolve<'s>(root: &'s Schema, schema: &'s Schema) -> &'s Schema {
    if let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
        return resolve(root, &root["$defs"][name]);
    }
    let alternatives = schema["anyOf"].as_array().into_iter().flatten();
    match alternatives.filter(|s| s["type"] != "null").collect::<Vec<_>>()[..] {
        [one] => resolve(root, one),
        _ => schema,
    }
}

/// Our own deserialisers put what to write instead behind a line break; serde names the words it knows.
fn split_help(message: &str) -> (String, Option<String>) {
    match message.split_once('\n') {
        Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
        None => match message.split_once(", expected ") {
            Some((wrong, known)) if wrong.starts_with("unknown variant") => {
                let wrong = wrong.split('`').nth(1).unwrap_or_default();
                (
                    format!("`{wrong}` is not one of the words"),
                    Some(suggest(wrong, known.split('`').skip(1).step_by(2))),
                )
            }
            _ => (message.to_owned(), None),
        },
    }
}

/// A name ends up in metrics' labels, MQTT topics, URLs and account names, so it is kept to what all of them take.
fn check_name(name: &str, at: Range<usize>, source: &Arc<Source>, report: &mut Report) {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if !plain || name.is_empty() || name.len() > NAME_CHARS_MAX {
        report.error(source, at, format!("`{name}` cannot be a name")).help(format!(
            "a name is 1 to {NAME_CHARS_MAX} lower-case letters, digits, `-` and `_`; people see `name` instead"
        ));
    }
}
