//! What every check of the site file needs: the file, its directory, and the report.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Report, Source, suggest};
use super::document::Entry;
use super::secret::SecretSource;
use super::value::At;
use crate::site::Secret;

/// The site file under check.
pub struct Context {
    /// Its name and text.
    pub source: Arc<Source>,
    /// What relative paths in it start from.
    pub directory: PathBuf,
    /// What was found so far.
    pub report: Report,
    /// Names of tables with errors of their own: who refers to one of them is not wrong besides.
    pub broken: BTreeSet<String>,
    /// How many of the errors are lines that are planned too full.
    pub overloaded: usize,
}

impl Context {
    /// Adds an error at a place of the site file.
    pub fn error(&mut self, at: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        self.report.error(&self.source, at, message)
    }

    /// Adds a warning at a place of the site file.
    pub fn warning(&mut self, at: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        self.report.warning(&self.source, at, message)
    }

    /// The position of the entry a name refers to; an error if there is none.
    pub fn position<T>(&mut self, what: &str, name: &At<String>, entries: &[Entry<T>]) -> Option<usize> {
        let found = entries.iter().position(|e| *e.key == ***name);
        if found.is_none() {
            self.dangling(what, name, entries.iter().map(|e| &*e.key));
        }
        found
    }

    /// Reports a name that refers to nothing. Of `device/alarm`, the device may be broken.
    pub fn dangling<'n>(&mut self, what: &str, name: &At<String>, known: impl IntoIterator<Item = &'n str>) {
        if self.broken.contains(name.split('/').next().unwrap_or_default()) {
            return;
        }
        let help = suggest(name, known);
        self.error(name.span(), format!("there is no {what} `{}`", **name)).help(help);
    }

    /// Reads a secret from where the file says it is.
    pub fn secret(&mut self, source: &At<SecretSource>) -> Option<Secret> {
        SecretSource::read(source, &self.directory, &self.source, &mut self.report)
    }

    /// User and password belong together; `None` without both.
    pub fn login(
        &mut self,
        user: Option<&At<String>>,
        password: Option<&At<SecretSource>>,
    ) -> Option<(String, Secret)> {
        match (user, password) {
            (Some(user), Some(password)) => Some(((**user).clone(), self.secret(password)?)),
            (Some(user), None) => {
                self.error(user.span(), "a user without a password").help("add password = { file = \"path\" }");
                None
            }
            (None, Some(password)) => {
                self.error(password.span(), "a password without a user").help("add `user`");
                None
            }
            (None, None) => None,
        }
    }

    /// Host and port of `host:port`; with a default, the port may be left out.
    pub fn host_port(&mut self, address: &At<String>, default_port: Option<u16>) -> Option<(String, u16)> {
        let parsed = split_host_port(address, default_port);
        if parsed.is_none() {
            let help = match default_port {
                Some(port) => format!("write \"192.0.2.10\" or \"192.0.2.10:{port}\""),
                None => "write \"192.0.2.10:4196\"".to_owned(),
            };
            self.error(address.span(), format!("`{}` is not a host and a port", **address)).help(help);
        }
        parsed
    }

    /// An `http://` or `https://` URL without a trailing slash.
    pub fn url(&mut self, url: &At<String>) -> Option<String> {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        if rest.is_some_and(|r| r.split('/').next().is_some_and(|host| host.contains('@'))) {
            self.error(url.span(), "a password in a URL is a secret in the file's text")
                .help("leave user and password out of the URL");
            return None;
        }
        if rest.is_none_or(|r| r.is_empty() || r.starts_with('/') || r.contains(char::is_whitespace)) {
            self.error(url.span(), format!("`{}` is not a URL", **url)).help("write \"http://192.0.2.9:8080\"");
            return None;
        }
        Some(url.trim_end_matches('/').to_owned())
    }
}

fn split_host_port(text: &str, default_port: Option<u16>) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok().filter(|p| *p != 0)?),
        _ => (text, default_port?),
    };
    // An IPv6 address stands in brackets; a bare one would swallow its last group as the port.
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let plain = !host.contains([':', '/', '[', ']', '@']) && !host.contains(char::is_whitespace);
    (!host.is_empty() && (bracketed || plain)).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_at_the_port() {
        assert_eq!(split_host_port("192.0.2.1:502", None), Some(("192.0.2.1".into(), 502)));
        assert_eq!(split_host_port("plc.example", Some(502)), Some(("plc.example".into(), 502)));
        assert_eq!(split_host_port("[2001:db8::1]:502", None), Some(("[2001:db8::1]".into(), 502)));
        for text in ["", "192.0.2.1", ":502", "a:0", "a:70000", "2001:db8::1", "http://a:1", "a b:1"] {
            assert_eq!(split_host_port(text, None), None, "{text}");
        }
    }
}
