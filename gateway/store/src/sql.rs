//! The one door to both databases.
//!
//! SQLite binds NULL to a placeholder that got no value and says nothing. So every statement goes through
//! [`Conn`], which counts the placeholders of the text against the values it was given and refuses a difference.
//! The two drivers are hidden behind two enums; statements are written once, with `$1`, for both.

use std::borrow::Cow;

use guanjia_core::time::Timestamp;
use sqlx::{AssertSqlSafe, PgConnection, Row as _, SqliteConnection};

use crate::error::StoreError;

/// Rows in one multi-row `INSERT`; far below the parameter limits (32766 in SQLite, 65535 in PostgreSQL).
const ROWS_PER_INSERT: usize = 200;

/// One bound value.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Int(Option<i64>),
    Text(Option<Cow<'a, str>>),
    Bytes(Cow<'a, [u8]>),
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Int(Some(value))
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(value: Timestamp) -> Self {
        Value::Int(Some(value.as_millis()))
    }
}

impl From<Option<Timestamp>> for Value<'_> {
    fn from(value: Option<Timestamp>) -> Self {
        Value::Int(value.map(Timestamp::as_millis))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Value::Text(Some(Cow::Borrowed(value)))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Value::Text(value.map(Cow::Borrowed))
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Value::Text(Some(Cow::Owned(value)))
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Value::Bytes(Cow::Borrowed(value))
    }
}

impl From<uuid::Uuid> for Value<'_> {
    fn from(value: uuid::Uuid) -> Self {
        Value::from(value.to_string())
    }
}

impl From<Option<uuid::Uuid>> for Value<'_> {
    fn from(value: Option<uuid::Uuid>) -> Self {
        Value::Text(value.map(|id| Cow::Owned(id.to_string())))
    }
}

/// One row of an answer; columns are read by name.
pub(crate) enum Row {
    Sqlite(sqlx::sqlite::SqliteRow),
    Postgres(sqlx::postgres::PgRow),
}

impl Row {
    pub fn int(&self, column: &str) -> Result<i64, StoreError> {
        self.opt_int(column)?.ok_or_else(|| StoreError::Corrupt(format!("column {column} is null")))
    }

    pub fn opt_int(&self, column: &str) -> Result<Option<i64>, StoreError> {
        Ok(match self {
            Row::Sqlite(row) => row.try_get(column)?,
            Row::Postgres(row) => row.try_get(column)?,
        })
    }

    pub fn text(&self, column: &str) -> Result<String, StoreError> {
        self.opt_text(column)?.ok_or_else(|| StoreError::Corrupt(format!("column {column} is null")))
    }

    pub fn opt_text(&self, column: &str) -> Result<Option<String>, StoreError> {
        Ok(match self {
            Row::Sqlite(row) => row.try_get(column)?,
            Row::Postgres(row) => row.try_get(column)?,
        })
    }

    pub fn bytes(&self, column: &str) -> Result<Vec<u8>, StoreError> {
        Ok(match self {
            Row::Sqlite(row) => row.try_get(column)?,
            Row::Postgres(row) => row.try_get(column)?,
        })
    }

    pub fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        self.int(column).map(Timestamp::from_millis)
    }

    pub fn opt_time(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.opt_int(column)?.map(Timestamp::from_millis))
    }

    /// A text that parses as `T`, such as a UUID or an `i128`.
    pub fn parsed<T>(&self, column: &str) -> Result<T, StoreError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let text = self.text(column)?;
        text.parse().map_err(|error| StoreError::corrupt(column, &text, error))
    }

    /// A text that is one of the stable words of an enum.
    pub fn word<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        from_word(&self.text(column)?)
    }

    /// A JSON document.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        let text = self.text(column)?;
        serde_json::from_str(&text).map_err(|error| StoreError::corrupt(column, &text, error))
    }
}

/// A borrowed connection of either kind.
pub(crate) enum Conn<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

/// Builds the query of `$sql` on whichever driver, then runs `$method` on it.
macro_rules! on_driver {
    ($self:ident, $sql:expr, $args:expr, |$query:ident, $conn:ident, $wrap:ident| $run:expr) => {
        match $self {
            Conn::Sqlite($conn) => {
                let mut $query = sqlx::query($sql);
                for value in $args {
                    $query = match value {
                        Value::Int(int) => $query.bind(*int),
                        Value::Text(text) => $query.bind(text.as_deref()),
                        Value::Bytes(bytes) => $query.bind(bytes.as_ref()),
                    };
                }
                #[allow(unused)]
                let $wrap = Row::Sqlite;
                $run
            }
            Conn::Postgres($conn) => {
                let mut $query = sqlx::query($sql);
                for value in $args {
                    $query = match value {
                        Value::Int(int) => $query.bind(*int),
                        Value::Text(text) => $query.bind(text.as_deref()),
                        Value::Bytes(bytes) => $query.bind(bytes.as_ref()),
                    };
                }
                #[allow(unused)]
                let $wrap = Row::Postgres;
                $run
            }
        }
    };
}

impl Conn<'_> {
    /// Runs a statement; the number of rows it touched.
    pub async fn execute(&mut self, sql: &'static str, args: &[Value<'_>]) -> Result<u64, StoreError> {
        check_placeholders(sql, args.len())?;
        on_driver!(self, sql, args, |query, conn, wrap| Ok(query.execute(&mut **conn).await?.rows_affected()))
    }

    /// All rows of a query. The caller's text carries the limit.
    pub async fn rows(&mut self, sql: &'static str, args: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        check_placeholders(sql, args.len())?;
        on_driver!(self, sql, args, |query, conn, wrap| {
            Ok(query.fetch_all(&mut **conn).await?.into_iter().map(wrap).collect())
        })
    }

    /// The first row of a query, if there is one.
    pub async fn row(&mut self, sql: &'static str, args: &[Value<'_>]) -> Result<Option<Row>, StoreError> {
        check_placeholders(sql, args.len())?;
        on_driver!(self, sql, args, |query, conn, wrap| Ok(query.fetch_optional(&mut **conn).await?.map(wrap)))
    }

    /// A statement without values: transaction control and pragmas.
    pub async fn control(&mut self, sql: &'static str) -> Result<(), StoreError> {
        match self {
            Conn::Sqlite(conn) => sqlx::raw_sql(sql).execute(&mut **conn).await.map(drop)?,
            Conn::Postgres(conn) => sqlx::raw_sql(sql).execute(&mut **conn).await.map(drop)?,
        }
        Ok(())
    }

    /// Many rows into one table: `into` is `table (column, column)`, every row has one value per column.
    pub async fn insert(&mut self, into: &'static str, rows: &[Vec<Value<'_>>]) -> Result<(), StoreError> {
        let width = into.matches(',').count() + 1;
        for chunk in rows.chunks(ROWS_PER_INSERT) {
            if chunk.iter().any(|row| row.len() != width) {
                return Err(StoreError::Defect(format!("{into}: a row is not {width} values wide")));
            }
            let groups: Vec<String> = (0..chunk.len()).map(|row| placeholders(row * width, width)).collect();
            let sql = format!("INSERT INTO {into} VALUES {}", groups.join(", "));
            let args = chunk.iter().flatten();
            // Statements of odd lengths would push the useful ones out of the driver's cache.
            let keep = chunk.len() == ROWS_PER_INSERT || chunk.len() <= 2;
            on_driver!(self, AssertSqlSafe(sql), args, |query, conn, wrap| {
                query.persistent(keep).execute(&mut **conn).await?;
            });
        }
        Ok(())
    }
}

/// `($5, $6)` for `placeholders(4, 2)`.
fn placeholders(before: usize, width: usize) -> String {
    let names: Vec<String> = (before + 1..=before + width).map(|n| format!("${n}")).collect();
    format!("({})", names.join(", "))
}

/// Refuses a statement whose placeholders are not exactly `$1` to `$given`.
fn check_placeholders(sql: &str, given: usize) -> Result<(), StoreError> {
    let mut seen = 0u64;
    for part in sql.split('$').skip(1) {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        match part[..digits].parse::<u32>() {
            Ok(n @ 1..=60) => seen |= 1 << (n - 1),
            _ => return Err(StoreError::Defect(format!("odd placeholder in: {sql}"))),
        }
    }
    if given <= 60 && seen == (1u64 << given) - 1 {
        Ok(())
    } else {
        Err(StoreError::Defect(format!("{given} values for: {sql}")))
    }
}

/// The stable word of an enum variant, as serde writes it.
pub(crate) fn to_word<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        other => Err(StoreError::Defect(format!("not a word: {other:?}"))),
    }
}

/// The variant of a stable word.
pub(crate) fn from_word<T: serde::de::DeserializeOwned>(word: &str) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(word.to_owned()))
        .map_err(|error| StoreError::corrupt("word", word, error))
}

/// A record as JSON text.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Defect(format!("a record is not JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_too_few_is_refused_before_sqlite_makes_it_null() {
        let sql = "INSERT INTO t (a, b) VALUES ($1, $2)";
        assert!(check_placeholders(sql, 2).is_ok());
        for given in [0, 1, 3] {
            assert!(matches!(check_placeholders(sql, given), Err(StoreError::Defect(_))), "{given}");
        }
        assert!(check_placeholders("SELECT $2 WHERE $2 = 1", 2).is_err(), "a hole in the numbering");
        assert!(check_placeholders("SELECT $1 || $1", 1).is_ok(), "one value may be used twice");
        assert!(check_placeholders("SELECT '$'", 0).is_err());
    }

    #[test]
    fn every_statement_of_the_crate_goes_through_the_counting_door() {
        let mut seen = 0;
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().unwrap() != "sql.rs" {
                    let text = std::fs::read_to_string(&path).unwrap();
                    assert!(!text.contains(concat!("sqlx::", "query")), "{} has its own door", path.display());
                    seen += 1;
                }
            }
        }
        assert!(seen > 10);
    }
}
