//! Who may do what: bearer tokens for programs, a signed-in session for people, and no orders from foreign pages.
//!
//! * A program shows a bearer token. Its SHA-256 is compared in constant time with that of every client, so neither
//!   the time nor the order tells anything about a token.
//! * A person signs in with the console's password and gets a random 256-bit session in a cookie. Only its SHA-256 is
//!   kept, in memory: a restart signs everybody out, and a copy of the disk opens nothing.
//! * Every other request than GET and HEAD without a bearer token must come from a page of this gateway. That is told
//!   by `Sec-Fetch-Site`, or by `Origin` where a browser does not send it (plain HTTP inside the building).
//!
//! ```text
//!   password ok ──► session (12 h, renewed while used; the oldest of 256 makes room) ──► signed out, expired
//!   password wrong ──► counted by address; after 5 in a minute further attempts are refused unread
//! ```

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::http::problem::{Code, Problem};
use crate::site::{ApiClient, ConsoleAccess, Permission, Site};

/// The cookie of a session.
const SESSION_COOKIE: &str = "guanjia_session";
/// How long an unused session lives.
const SESSION_IDLE_MAX: Duration = Duration::from_secs(12 * 3600);
/// Sessions kept at once.
const SESSIONS_MAX: usize = 256;
/// Wrong passwords from one address within [`ATTEMPT_WINDOW`].
const ATTEMPTS_MAX: u32 = 5;
/// Wrong passwords from everywhere within [`ATTEMPT_WINDOW`].
const ATTEMPTS_TOTAL_MAX: u32 = 50;
/// The window in which wrong passwords are counted.
const ATTEMPT_WINDOW: Duration = Duration::from_secs(60);

/// A SHA-256.
type Hash = [u8; 32];

fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// Whether two secrets are equal, in a time that does not depend on where they differ.
fn same_secret(a: &str, b: &str) -> bool {
    hash(a).ct_eq(&hash(b)).into()
}

/// The client whose bearer token the request shows, if it may do what is asked.
///
/// # Errors
/// 401 without a valid token, 403 without the permission.
pub fn client<'a>(site: &'a Site, headers: &HeaderMap, wanted: Permission) -> Result<&'a ApiClient, Problem> {
    let needed = || Problem::new(Code::Unauthorized, "send the header Authorization: Bearer <token>");
    let token = bearer(headers).ok_or_else(needed)?;
    let mut found = None;
    // No early exit: the number of clients is public, which of them matched is not.
    for client in &site.api_clients {
        if same_secret(token, client.token.expose()) {
            found = Some(client);
        }
    }
    let client = found.ok_or_else(|| Problem::new(Code::Unauthorized, "no client has this token"))?;
    if client.may.contains(&wanted) {
        Ok(client)
    } else {
        let word = match wanted {
            Permission::TopUp => "top-up",
            Permission::Acknowledge => "acknowledge",
            Permission::Read => "read",
        };
        Err(Problem::new(Code::Forbidden, format!("add \"{word}\" to this client's permissions in the site file")))
    }
}

/// The token of an `Authorization: Bearer` header.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// Whether an order came from a page of this gateway.
pub fn same_origin(headers: &HeaderMap, public_url: &str) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("sec-fetch-site") {
        Some("same-origin") => return true,
        Some(_) => return false,
        None => {}
    }
    let Some(origin) = text("origin") else { return false };
    let authority = |url: &str| url.split_once("://").map(|(_, rest)| rest.to_ascii_lowercase());
    let Some(origin_authority) = authority(origin) else { return false };
    let host = text("host").map(str::to_ascii_lowercase);
    host.as_deref() == Some(&origin_authority) || origin.eq_ignore_ascii_case(public_url)
}

/// Whether an open console may answer under this `Host`. Only addresses and `localhost` (and the site's own public
/// name) may: a foreign name that resolves to this machine is a trick to read the console through a browser.
pub fn host_is_ours(headers: &HeaderMap, public_url: &str) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|h| h.to_str().ok()) else { return false };
    if public_url.split_once("://").is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(host)) {
        return true;
    }
    let name =
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(n, _)| n);
    name == "localhost" || name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

/// The value of one cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// Everybody who is signed in, and everybody who tried.
#[derive(Default)]
pub struct Sessions {
    open: Mutex<HashMap<Hash, Instant>>,
    failures: Mutex<Failures>,
}

/// Wrong passwords of the present window.
#[derive(Default)]
struct Failures {
    window: Option<Instant>,
    total: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// Why nobody was signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInRefusal {
    /// The password is wrong.
    Wrong,
    /// Too many wrong ones came before; this one was not looked at.
    TooMany,
}

impl Sessions {
    /// Whether the request may see the console.
    pub fn admits(&self, site: &Site, headers: &HeaderMap, now: Instant) -> bool {
        match &site.http.console {
            ConsoleAccess::Open => true,
            ConsoleAccess::Password(_) => cookie(headers, SESSION_COOKIE).is_some_and(|token| self.is_open(token, now)),
        }
    }

    fn is_open(&self, token: &str, now: Instant) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&hash(token)) {
            Some(used) if now.duration_since(*used) < SESSION_IDLE_MAX => {
                *used = now;
                true
            }
            Some(_) => {
                open.remove(&hash(token));
                false
            }
            None => false,
        }
    }

    /// Looks at a password. On success the `Set-Cookie` value of a new session.
    ///
    /// # Errors
    /// [`SignInRefusal`].
    pub fn sign_in(&self, expected: &str, given: &str, from: IpAddr, now: Instant) -> Result<String, SignInRefusal> {
        {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            if failures.window.is_none_or(|start| now.duration_since(start) >= ATTEMPT_WINDOW) {
                *failures = Failures { window: Some(now), ..Failures::default() };
            }
            let of_address = failures.by_address.get(&from).copied().unwrap_or(0);
            if of_address >= ATTEMPTS_MAX || failures.total >= ATTEMPTS_TOTAL_MAX {
                return Err(SignInRefusal::TooMany);
            }
            if !same_secret(expected, given) {
                // The total bounds the table: it never holds more addresses than that.
                failures.total += 1;
                *failures.by_address.entry(from).or_default() += 1;
                return Err(SignInRefusal::Wrong);
            }
        }
        let mut bytes = [0u8; 32];
        // Without randomness nobody can be signed in safely.
        getrandom::fill(&mut bytes).map_err(|_| SignInRefusal::TooMany)?;
        let token: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= SESSIONS_MAX
            && let Some(oldest) = open.iter().min_by_key(|(_, used)| **used).map(|(hash, _)| *hash)
        {
            open.remove(&oldest);
        }
        open.insert(hash(&token), now);
        let age = SESSION_IDLE_MAX.as_secs();
        Ok(format!("{SESSION_COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}"))
    }

    /// Ends the session of the request. The `Set-Cookie` value that forgets it.
    pub fn sign_out(&self, headers: &HeaderMap) -> String {
        if let Some(token) = cookie(headers, SESSION_COOKIE) {
            self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash(token));
        }
        format!("{SESSION_COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect::<HeaderMap>()
    }

    #[test]
    fn an_order_from_a_foreign_page_is_told_apart() {
        let ours = "http://192.0.2.1:8080";
        assert!(same_origin(&headers(&[("host", "a:1"), ("origin", "http://a:1")]), ours));
        assert!(same_origin(&headers(&[("host", "x"), ("origin", "http://192.0.2.1:8080")]), ours));
        assert!(same_origin(&headers(&[("sec-fetch-site", "same-origin")]), ours));
        assert!(!same_origin(&headers(&[("host", "a:1"), ("origin", "http://evil.example")]), ours));
        assert!(!same_origin(&headers(&[("host", "a:1"), ("origin", "null")]), ours));
        assert!(!same_origin(&headers(&[("host", "a:1")]), ours));
        let cross = [("sec-fetch-site", "cross-site"), ("host", "a:1"), ("origin", "http://a:1")];
        assert!(!same_origin(&headers(&cross), ours));
    }

    #[test]
    fn a_foreign_name_for_this_machine_is_not_ours() {
        let ours = "http://gateway.example:8080";
        for host in ["127.0.0.1:8080", "localhost:8080", "localhost", "[::1]:8080", "gateway.example:8080"] {
            assert!(host_is_ours(&headers(&[("host", host)]), ours), "{host}");
        }
        for host in ["evil.example:8080", "evil.example", "localhost.evil.example"] {
            assert!(!host_is_ours(&headers(&[("host", host)]), ours), "{host}");
        }
    }

    #[test]
    fn guessing_is_stopped_even_for_the_right_password_and_forgotten_after_a_minute() {
        let sessions = Sessions::default();
        let start = Instant::now();
        for _ in 0..ATTEMPTS_MAX {
            assert_eq!(sessions.sign_in("right", "wrong", HERE, start), Err(SignInRefusal::Wrong));
        }
        assert_eq!(sessions.sign_in("right", "right", HERE, start), Err(SignInRefusal::TooMany));
        assert!(sessions.sign_in("right", "right", HERE, start + ATTEMPT_WINDOW).is_ok());
    }

    #[test]
    fn a_session_ends_by_time_and_by_signing_out() {
        let sessions = Sessions::default();
        let start = Instant::now();
        let set = sessions.sign_in("right", "right", HERE, start).unwrap();
        let pair = set.split(';').next().unwrap().to_owned();
        let token = pair.split_once('=').unwrap().1.to_owned();
        assert_eq!(token.len(), 64);
        assert!(sessions.is_open(&token, start + Duration::from_secs(3600)));
        assert!(!sessions.is_open("another", start));
        let mut map = HeaderMap::new();
        map.insert("cookie", pair.parse().unwrap());
        assert!(sessions.sign_out(&map).contains("Max-Age=0"));
        assert!(!sessions.is_open(&token, start));
        let set = sessions.sign_in("right", "right", HERE, start).unwrap();
        let token = set.split(';').next().unwrap().split_once('=').unwrap().1.to_owned();
        assert!(!sessions.is_open(&token, start + SESSION_IDLE_MAX));
    }
}
