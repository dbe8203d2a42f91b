//! How a command on this machine asks a running gateway.
//!
//! The gateway is named by its URL, or by the site file it runs with: then address and token are read from there, by
//! somebody who may read the file's secrets anyway. Nothing else than the API is used, so what a command may see is what
//! the site file allows a program to see.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use crate::config;
use crate::site::{Permission, Site};

/// How long the gateway may take to begin its answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Where the gateway is and with which word it answers.
#[derive(Clone, Debug, Args)]
pub struct GatewayOptions {
    /// The site file the gateway runs with, or its URL, such as http://192.0.2.10:8080
    #[arg(value_name = "SITE-OR-URL")]
    pub gateway: String,
    /// A file with the bearer token of an API client that may read; needed with a URL
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// A gateway that can be asked.
pub struct Gateway {
    url: String,
    token: String,
    client: reqwest::Client,
}

impl Gateway {
    /// Finds out where it is.
    ///
    /// # Errors
    /// A site file that cannot be used, or no token.
    pub fn find(options: &GatewayOptions) -> anyhow::Result<Self> {
        let file_token = options.token_file.as_deref().map(token_of).transpose()?;
        let is_url = options.gateway.starts_with("http://") || options.gateway.starts_with("https://");
        let (url, token) = if is_url {
            let token = file_token.context("add --token-file with the token of an API client that may read")?;
            (options.gateway.trim_end_matches('/').to_owned(), token)
        } else {
            let site = match config::load(Path::new(&options.gateway)) {
                Ok(site) => site,
                Err(report) => bail!("the site file cannot be used:\n{report}"),
            };
            let token = file_token.or_else(|| own_token(&site)).context(
                "no program may read: add an [api_client.NAME] with may = [\"read\"] to the site file, and reload it",
            )?;
            (url_of(site.http.listen)?, token)
        };
        let client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(ANSWER_MAX)
            .read_timeout(ANSWER_MAX * 3)
            .build()
            .context("no HTTP client")?;
        Ok(Self { url, token, client })
    }

    /// Asks for a path below `/api/v1`.
    ///
    /// # Errors
    /// When it cannot be reached or refuses; the text is the gateway's own.
    pub async fn get(&self, path: &str) -> anyhow::Result<reqwest::Response> {
        let url = format!("{}/api/v1{path}", self.url);
        let asked = self.client.get(&url).bearer_auth(&self.token).send();
        let response = tokio::time::timeout(ANSWER_MAX, asked)
            .await
            .ok()
            .and_then(Result::ok)
            .with_context(|| format!("no gateway answers at {}; is it running?", self.url))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem: serde_json::Value = response.json().await.unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("it does not say why");
        bail!("the gateway refuses ({status}): {detail}");
    }
}

/// A token in a file, without the line break behind it.
fn token_of(path: &Path) -> anyhow::Result<String> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("the token in {} cannot be read", path.display()))?;
    Ok(text.trim().to_owned())
}

/// The token of the first program that may read.
fn own_token(site: &Site) -> Option<String> {
    let client = site.api_clients.iter().find(|client| client.may.contains(&Permission::Read))?;
    Some(client.token.expose().to_owned())
}

/// How to reach what listens at `address` from this machine.
fn url_of(address: SocketAddr) -> anyhow::Result<String> {
    if address.port() == 0 {
        bail!("http.listen takes a free port, so the site file does not say which; give the gateway's URL instead");
    }
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    Ok(format!("http://{}", SocketAddr::new(host, address.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_reached_on_this_machine() {
        let url = |address: &str| url_of(address.parse().unwrap()).ok();
        assert_eq!(url("0.0.0.0:8080").as_deref(), Some("http://127.0.0.1:8080"));
        assert_eq!(url("[::]:8080").as_deref(), Some("http://[::1]:8080"));
        assert_eq!(url("192.0.2.1:80").as_deref(), Some("http://192.0.2.1:80"));
        assert_eq!(url("127.0.0.1:0"), None);
    }
}
