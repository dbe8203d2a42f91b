//! A private PostgreSQL server for tests.
//!
//! It lives in a temporary directory, listens on a Unix socket and a free port of 127.0.0.1, and runs as a user that
//! is not root. A shell that holds the other end of a pipe stops it and removes the directory when this process
//! ends, however it ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection, PgConnection};

/// Who runs the server when the tests run as root.
const SERVER_USER: &str = "postgres";

/// A running server.
pub struct Pg {
    bin: PathBuf,
    dir: PathBuf,
    port: u16,
    _janitor: Child,
}

/// The server all tests of this binary share; `None` (said once) where PostgreSQL is not installed.
pub fn shared() -> Option<&'static Pg> {
    static SHARED: OnceLock<Option<Pg>> = OnceLock::new();
    SHARED.get_or_init(Pg::start).as_ref()
}

impl Pg {
    /// Starts a server of its own.
    pub fn start() -> Option<Pg> {
        let Some(bin) = find_bin() else {
            println!("skipped: PostgreSQL server not installed");
            return None;
        };
        let dir = tempfile::Builder::new().prefix("guanjia-pg-").tempdir().unwrap().keep();
        if let Some((user, group)) = server_ids() {
            std::os::unix::fs::chown(&dir, Some(user), Some(group)).unwrap();
        }
        let script = format!(
            "read -r _; {} -D '{}/data' -m immediate stop >/dev/null 2>&1; rm -rf '{}'",
            as_server_user(&bin.join("pg_ctl")),
            dir.display(),
            dir.display()
        );
        let janitor = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let pg = Pg { bin, dir, port, _janitor: janitor };
        let data = pg.dir.join("data");
        let init = "--auth=trust --username=guanjia --encoding=UTF8 --locale=C --no-sync";
        pg.shell(&format!("{} -D '{}' {init}", as_server_user(&pg.bin.join("initdb")), data.display()));
        pg.launch();
        Some(pg)
    }

    /// Starts the server on its data, and waits until it answers.
    pub fn launch(&self) {
        let options = format!("-p {} -h 127.0.0.1 -k '{}' -c max_connections=60", self.port, self.dir.display());
        self.shell(&format!(
            "{} -D '{}/data' -l '{}/log' -w -o \"{options}\" start",
            as_server_user(&self.bin.join("pg_ctl")),
            self.dir.display(),
            self.dir.display()
        ));
    }

    /// Ends every server process at once, as a power cut does.
    pub fn crash(&self) {
        let pg_ctl = as_server_user(&self.bin.join("pg_ctl"));
        self.shell(&format!("{pg_ctl} -D '{}/data' -m immediate stop", self.dir.display()));
    }

    /// A new database; its URL.
    pub async fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut conn = PgConnection::connect(&self.url("postgres")).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://guanjia@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    fn shell(&self, script: &str) {
        let output = Command::new("sh").args(["-c", script]).current_dir(&self.dir).stdout(Stdio::null()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The newest directory with `initdb` and `postgres`: on the path, or where Debian puts it.
fn find_bin() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<PathBuf> = versions.flatten().map(|entry| entry.path().join("bin")).collect();
        versions.sort();
        places.extend(versions.into_iter().rev());
    }
    places.into_iter().find(|place| ["initdb", "postgres", "pg_ctl"].iter().all(|name| place.join(name).is_file()))
}

/// The ids of the server's user, if a change of user is needed.
fn server_ids() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata("/proc/self").map(|found| found.uid()).unwrap_or(0) != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = users.lines().find(|line| line.starts_with(&format!("{SERVER_USER}:")))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The command with a change of user before it, if one is needed.
fn as_server_user(program: &Path) -> String {
    match server_ids() {
        Some((user, group)) => {
            format!("setpriv --reuid={user} --regid={group} --clear-groups '{}'", program.display())
        }
        None => format!("'{}'", program.display()),
    }
}
