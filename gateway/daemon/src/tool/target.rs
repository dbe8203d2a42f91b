//! Which line, which unit, which model: from the command line to a session.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use guanjia_core::profile::Profile;
use guanjia_field::session::{Patience, Session};
use guanjia_field::{LineConfig, Link};

use super::{Trouble, usage};
use crate::config::{self, ProfileShelf};
use crate::site::{Attachment, Device, Site};

/// How long a line waits for a late answer before it goes on.
const LINGER: Duration = Duration::from_millis(250);

/// The most a tool waits for one answer.
const TIMEOUT_MAX_MS: u64 = 60_000;

/// Which line.
#[derive(Clone, Debug, Args)]
pub struct LineOptions {
    /// The line: modbus-tcp://HOST[:502], modbus-tls://HOST[:802]?ca=FILE&cert=FILE&key=FILE,
    /// rtu-over-tcp://HOST:PORT?baud=9600&parity=none&stop=1, or /dev/serial/by-id/NAME?baud=9600&parity=even; in quotes
    #[arg(long, value_name = "URL", conflicts_with = "site")]
    pub link: Option<String>,
    /// A site file, for its lines and devices
    #[arg(long, value_name = "FILE")]
    pub site: Option<PathBuf>,
    /// A line of the site file, by its name
    #[arg(long, value_name = "NAME", requires = "site")]
    pub line: Option<String>,
    /// How long to wait for an answer to begin, in milliseconds, instead of what line and profile say
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=TIMEOUT_MAX_MS))]
    pub timeout: Option<u64>,
}

/// Where the library lies besides the built-in one.
#[derive(Clone, Debug, Args)]
pub struct LibraryOptions {
    /// A directory of device profiles, over the built-in ones
    #[arg(long, value_name = "DIR")]
    pub profiles: Option<PathBuf>,
}

/// A device and the way to it.
pub struct Target {
    /// Its id in the site file, or `unit N`.
    pub name: String,
    /// The line it is on.
    pub line: LineConfig,
    /// The way.
    pub session: Session,
    /// Its address there.
    pub unit: u8,
    /// Its model, if it is known.
    pub profile: Option<Arc<Profile>>,
}

impl LineOptions {
    /// The site file, read and checked.
    pub fn site(&self) -> Result<Option<Site>, Trouble> {
        self.site.as_deref().map(|path| config::load(path).map_err(Trouble::Config)).transpose()
    }

    /// The line of `--link`, or the one that `--line` names in the site.
    pub fn config(&self, site: Option<&Site>) -> Result<LineConfig, Trouble> {
        let mut config = match (&self.link, site, &self.line) {
            (Some(url), ..) => of_link(url)?,
            (None, Some(site), Some(name)) => {
                let found = site.lines.iter().find(|l| *l.name == **name);
                found.cloned().ok_or_else(|| {
                    let names: Vec<&str> = site.lines.iter().map(|l| &*l.name).collect();
                    usage(format!("the site has no line `{name}`; its lines are {}", names.join(", ")))
                })?
            }
            (None, Some(_), None) => return Err(usage("which line of the site? add --line NAME")),
            (None, None, _) => return Err(usage("which line? add --link URL, or --site FILE with --line NAME")),
        };
        self.patient(&mut config);
        can_be_asked(&config)?;
        Ok(config)
    }

    fn patient(&self, config: &mut LineConfig) {
        config.response_max = self.timeout.map(Duration::from_millis).or(config.response_max);
    }

    /// A unit of a line, without a model.
    pub fn unit(&self, unit: Option<u8>) -> Result<Target, Trouble> {
        let site = self.site()?;
        let config = self.config(site.as_ref())?;
        let unit = unit.ok_or_else(|| usage("which device on the line? add --unit N"))?;
        check_unit(&config.link, unit)?;
        let known = site.as_ref().and_then(|s| device_at(s, &config.name, unit));
        Ok(Target {
            name: known.map_or_else(|| format!("unit {unit}"), |d| d.id.to_string()),
            profile: known.map(|d| d.profile.clone()),
            session: Session::new(config.clone()),
            line: config,
            unit,
        })
    }

    /// A device of the site file.
    pub fn device(&self, site: &Site, id: &str) -> Result<Target, Trouble> {
        let device = site.devices.iter().find(|d| *d.id == *id).ok_or_else(|| {
            usage(format!("the site has no device `{id}`; `guanjia check` counts them, its file names them"))
        })?;
        let Attachment::Line { line, unit, .. } = device.attachment else {
            return Err(usage(format!(
                "`{id}` reports by MQTT and cannot be asked; see what it said last: guanjia watch --api URL {id}"
            )));
        };
        let mut config = site.lines[line].clone();
        self.patient(&mut config);
        can_be_asked(&config)?;
        Ok(Target {
            name: id.to_owned(),
            session: Session::new(config.clone()),
            line: config,
            unit,
            profile: Some(device.profile.clone()),
        })
    }
}

/// A modem that dials in calls the gateway and nobody else.
fn can_be_asked(config: &LineConfig) -> Result<(), Trouble> {
    match config.link {
        Link::DialIn(_) => Err(usage(format!(
            "the modem of line `{}` calls the running gateway and cannot be asked from here; see what its devices said: \
             guanjia watch --api URL DEVICE",
            config.name
        ))),
        _ => Ok(()),
    }
}

/// How patient to be with a model.
pub fn patience(profile: Option<&Profile>) -> Patience {
    profile.map_or_else(Patience::default, |p| Patience::from(&p.limits))
}

fn of_link(url: &str) -> Result<LineConfig, Trouble> {
    let link: Link = url.parse().map_err(|e: guanjia_field::session::UrlError| usage(e.to_string()))?;
    Ok(LineConfig { name: "link".into(), link, response_max: None, turnaround: None, in_flight_max: 1, linger: LINGER })
}

/// Serial lines have units 1 to 247; Modbus TCP has 0 to 247 and 255.
pub fn check_unit(link: &Link, unit: u8) -> Result<(), Trouble> {
    let right = if link.format().is_some() { (1..=247).contains(&unit) } else { unit <= 247 || unit == 255 };
    let range = if link.format().is_some() { "1 to 247" } else { "0 to 247, or 255" };
    if right { Ok(()) } else { Err(usage(format!("{unit} is no address on this line; write {range}"))) }
}

fn device_at<'a>(site: &'a Site, line: &str, unit: u8) -> Option<&'a Device> {
    let line = site.lines.iter().position(|l| *l.name == *line)?;
    let is_it =
        |d: &&Device| matches!(d.attachment, Attachment::Line { line: l, unit: u, .. } if (l, u) == (line, unit));
    site.devices.iter().find(is_it)
}

/// The profile of that id.
pub fn profile(library: &LibraryOptions, id: &str) -> Result<Arc<Profile>, Trouble> {
    let shelf = ProfileShelf::find(library.profiles.as_deref()).map_err(Trouble::Config)?;
    match shelf.read(id).map_err(Trouble::Config)? {
        Some(loaded) => Ok(loaded.profile),
        None => {
            let ids: Vec<&str> = shelf.ids().collect();
            Err(usage(format!("there is no profile `{id}`; there are {}", ids.join(", "))))
        }
    }
}
