//! Who is behind the units of a line: the devices of a site file, and one model for all the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use guanjia_core::profile::{ByteCount, Profile};

use crate::site::{Attachment, Site};

/// The devices of one line by unit.
#[derive(Debug, Default)]
pub struct Units {
    devices: BTreeMap<u8, (Arc<str>, Arc<Profile>)>,
    others: Option<Arc<Profile>>,
}

impl Units {
    /// All of one model, if that is known.
    pub fn all(profile: Option<Arc<Profile>>) -> Self {
        Self { devices: BTreeMap::new(), others: profile }
    }

    /// Takes in the devices that the site has on a line; `None` if it has no such line.
    pub fn with_line(mut self, site: &Site, line: &str) -> Option<Self> {
        let line = site.lines.iter().position(|own| *own.name == *line)?;
        for device in &site.devices {
            if let Attachment::Line { line: at, unit, .. } = device.attachment
                && at == line
            {
                self.devices.insert(unit, (Arc::clone(&device.id), Arc::clone(&device.profile)));
            }
        }
        Some(self)
    }

    /// The device of that unit in the site file.
    pub fn device(&self, unit: u8) -> Option<&Arc<str>> {
        self.devices.get(&unit).map(|(id, _)| id)
    }

    /// The model of that unit: the site knows its devices, and what it does not know is of the model that was named.
    pub fn profile(&self, unit: u8) -> Option<&Arc<Profile>> {
        self.devices.get(&unit).map(|(_, profile)| profile).or(self.others.as_ref())
    }

    /// Units whose answers have a byte count of two bytes.
    pub fn with_two_byte_counts(&self) -> Vec<u8> {
        let counts_long = |unit: &u8| self.profile(*unit).is_some_and(|p| p.limits.byte_count == ByteCount::TwoBytes);
        (0..=u8::MAX).filter(counts_long).collect()
    }

    /// A point of a unit as it is called: `device/point`, or the point alone of a unit nobody knows.
    pub fn name(&self, unit: u8, point: &str) -> String {
        self.device(unit).map_or_else(|| point.to_owned(), |device| format!("{device}/{point}"))
    }
}
