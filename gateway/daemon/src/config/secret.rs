//! Tokens and passwords: named in the site file, kept elsewhere.
//!
//! A site file is mailed, printed and put under version control; a secret in it is one no longer. So the file says
//! where the secret is, and a plain text is refused.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::diagnostic::{Report, Source};
use super::library;
use super::value::At;
use crate::site::Secret;

/// Where a secret is.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// In an environment variable.
    Env(String),
    /// In a file, whose surrounding white space does not count; relative to the site file.
    File(PathBuf),
}

impl SecretSource {
    /// The secret itself; `None` with an error in `report` if it is not there.
    pub fn read(at: &At<Self>, directory: &Path, source: &Arc<Source>, report: &mut Report) -> Option<Secret> {
        let span = at.span();
        let text = match &**at {
            SecretSource::Env(name) => match std::env::var(name) {
                Ok(text) => text,
                Err(_) => {
                    report
                        .error(source, span, format!("the environment variable {name} is not set"))
                        .help(format!("set {name} for the service, or write {{ file = \"path\" }}"));
                    return None;
                }
            },
            SecretSource::File(path) => {
                let path = directory.join(path);
                let shown = at.shown();
                match std::fs::read_to_string(&path) {
                    Ok(text) => {
                        if readable_by_everybody(&path) {
                            report
                                .warning(source, span.clone(), format!("everybody on this machine can read {shown}"))
                                .help(format!("chmod 600 {shown}"));
                        }
                        text
                    }
                    Err(error) => {
                        let why = library::why(&error);
                        report
                            .error(source, span, format!("the secret file {shown} cannot be read: {why}"))
                            .help("put the secret into it, readable by the service's user only");
                        return None;
                    }
                }
            }
        };
        let text = text.trim();
        if text.is_empty() {
            report.error(source, span, "the secret is empty").help("an empty secret would protect nothing");
            return None;
        }
        Some(Secret::new(text.to_owned()))
    }

    fn shown(&self) -> String {
        match self {
            SecretSource::Env(name) => name.clone(),
            SecretSource::File(path) => path.display().to_string(),
        }
    }
}

/// Whether the file is no secret.
#[cfg(unix)]
pub(super) fn readable_by_everybody(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o004 != 0)
}

/// Whether the file is no secret.
#[cfg(not(unix))]
pub(super) fn readable_by_everybody(_: &Path) -> bool {
    false
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Where)
    }
}

/// Reads `{ env = … }` or `{ file = … }`.
struct Where;

impl<'de> Visitor<'de> for Where {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ file = \"path\" } or { env = \"NAME\" }")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<SecretSource, E> {
        Err(E::custom(
            "secrets never stand in the file's text\nput it in a file and write { file = \"path\" }, or in the \
             environment and write { env = \"NAME\" }",
        ))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
        let one = "a secret is in one place\nwrite { file = \"path\" } or { env = \"NAME\" }";
        let Some((key, value)) = map.next_entry::<String, String>()? else { return Err(A::Error::custom(one)) };
        if map.next_key::<String>()?.is_some() {
            return Err(A::Error::custom(one));
        }
        match key.as_str() {
            "env" => Ok(SecretSource::Env(value)),
            "file" => Ok(SecretSource::File(value.into())),
            _ => Err(A::Error::custom(one)),
        }
    }
}

impl JsonSchema for SecretSource {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where a secret is; never the secret itself.",
            "type": "object",
            "properties": {
                "env": { "description": "The environment variable that holds it.", "type": "string" },
                "file": { "description": "The file that holds it, relative to the site file.", "type": "string" }
            },
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Holder {
        token: At<SecretSource>,
    }

    fn read(toml_text: &str, directory: &Path) -> (Option<Secret>, Report) {
        let holder: Holder = toml::from_str(toml_text).expect("the text is well formed");
        let mut report = Report::default();
        let secret = SecretSource::read(&holder.token, directory, &Source::new("site.toml", toml_text), &mut report);
        (secret, report)
    }

    #[test]
    fn a_plain_text_is_refused_and_never_echoed() {
        let error = toml::from_str::<Holder>("token = \"hunter2\"").expect_err("a plain text is no secret");
        assert!(error.message().contains("secrets never stand in the file's text"), "{}", error.message());
        assert!(!error.message().contains("hunter2"));
    }

    #[test]
    fn a_file_is_read_without_its_line_end_and_its_mode_is_looked_at() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("token");
        std::fs::write(&path, "s3cret\n").expect("the file can be written");
        let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        set_mode(0o600).expect("the mode can be set");
        let (secret, report) = read("token = { file = \"token\" }", directory.path());
        assert_eq!(secret.expect("the secret is there").expose(), "s3cret");
        assert!(report.diagnostics.is_empty(), "{report}");
        set_mode(0o644).expect("the mode can be set");
        let (_, report) = read("token = { file = \"token\" }", directory.path());
        assert!(report.to_string().contains("everybody on this machine can read token"), "{report}");
        std::fs::write(&path, " \n").expect("the file can be written");
        let (secret, report) = read("token = { file = \"token\" }", directory.path());
        assert!(secret.is_none() && report.has_errors());
    }
}
