//! Meeting a device: before its values are believed, it shows that it is the one its profile describes.
//!
//! ```text
//!                 answers                                  fits
//!   Strange ───────────────► asked step by step ──────────────────────────► Known ── falls silent ──► Strange
//!      ▲                            │ another device
//!      └────── a pause ◄────────────┘ (all its points are bad; the log says what was expected and what was found)
//! ```
//!
//! What is asked is [`Introduction`]'s business; here it takes the place of the reads of the device's most urgent slot, so
//! that misses, doubts, back-off and probes are those of any other read. Nothing else is read and nothing is written to a
//! device that is not known. A profile that tells nothing about its device has no introduction.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::profile::{Asked, Introduction, Mismatch, Next, PollClass, Profile, Source};
use guanjia_core::reading::{BadReason, Reading};
use tokio::time::Instant;
use tracing::{error, info};

use super::Line;
use super::device::Device;
use super::poll::Answer;
use super::schedule::{Repeat, Trust};
use crate::clock;
use crate::plan::ReadRequest;

/// After this pause a device that turned out to be another one is asked again: somebody may have put it right.
const STRANGER_PAUSE: Duration = Duration::from_secs(30);

/// Whether a device has shown that it is the one of its profile.
#[derive(Debug)]
pub(super) struct Meeting {
    /// The profile as the site has it, before any place in it was found.
    profile: Arc<Profile>,
    /// What is still to be asked; `None` once it is known.
    open: Option<Introduction>,
    /// What the log was told last.
    told: Option<Mismatch>,
}

impl Meeting {
    pub(super) fn new(profile: &Arc<Profile>) -> Self {
        Self { profile: Arc::clone(profile), open: Introduction::of(profile), told: None }
    }

    /// The device may have become another one. Returns whether it must show itself again.
    pub(super) fn again(&mut self) -> bool {
        self.open = Introduction::of(&self.profile);
        self.open.is_some()
    }

    pub(super) fn is_over(&self) -> bool {
        self.open.is_none()
    }

    /// The read that takes the place of those of `class`, while it is not over: one, in the most urgent class that the
    /// profile has points of.
    pub(super) fn reads(&self, class: PollClass) -> Option<Vec<ReadRequest>> {
        let open = self.open.as_ref()?;
        let asked = self.profile.points.iter().filter(|p| p.source.is_asked());
        match open.next() {
            Next::Ask(extent) if asked.map(|p| p.poll).min() == Some(class) => Some(vec![ReadRequest {
                table: extent.table,
                address: extent.address,
                count: extent.count,
                points: Vec::new(),
            }]),
            _ => Some(Vec::new()),
        }
    }

    /// Whether the device has points of this class to be read, once it is known.
    pub(super) fn will_read(&self, class: PollClass) -> bool {
        let is_read = |source: &Source| matches!(source, Source::Registers(_) | Source::Model { .. });
        self.profile.points.iter().any(|p| p.poll == class && is_read(&p.source))
    }
}

/// What an answer to an introduction came to.
enum Step {
    Further,
    Fits(Arc<Profile>),
    Stranger(Mismatch),
}

impl Line {
    /// The read at `p` of a slot, which belongs to an introduction, was answered.
    pub(super) fn introduced(&mut self, s: usize, p: usize, answer: &Answer) {
        let (slot, now) = (&mut self.slots[s], Instant::now());
        let (i, planned) = (slot.device, &mut slot.reads[p]);
        if planned.trust == Trust::Unconfirmed {
            // The first answer after a silence may be an old one.
            planned.trust = Trust::Confirmed;
            slot.again(p, Repeat::Suspect);
            return;
        }
        let device = &mut self.devices[i];
        let Some(open) = &mut device.meeting.open else { return };
        open.answered(match answer {
            Answer::Data(words) => Asked::Words(words),
            Answer::Refused(code) => Asked::Refused(*code),
            _ => Asked::Words(&[]),
        });
        let step = match open.next() {
            Next::Ask(_) => Step::Further,
            Next::Fit(profile) => Step::Fits(profile),
            Next::Wrong(mismatch) => Step::Stranger(mismatch),
        };
        match step {
            Step::Further => {
                device.plans += 1;
                slot.back_to(0);
            }
            Step::Fits(profile) => {
                slot.back_to(0);
                let absent = device.known_as(profile);
                info!(line = %self.name, device = %device.spec.id, absent = absent.len(),
                    "device is the one of its profile");
                self.reporter.readings(device.spec.ix, absent);
                for slot in self.slots.iter_mut().filter(|s| s.device == i) {
                    slot.due = now;
                    // Most of them had nothing to read until now.
                    slot.replan(&self.devices[i]);
                }
            }
            Step::Stranger(mismatch) => {
                device.plans += 1;
                self.stats.overruns.add(slot.settled(now));
                slot.due = now + STRANGER_PAUSE;
                self.stranger(i, mismatch);
            }
        }
    }

    /// Another device answers where this one should.
    fn stranger(&mut self, i: usize, mismatch: Mismatch) {
        let device = &mut self.devices[i];
        device.meeting.again();
        let bad = device.all_bad(BadReason::WrongDevice, clock::now());
        self.reporter.readings(device.spec.ix, bad);
        if device.meeting.told.as_ref() == Some(&mismatch) {
            return;
        }
        error!(line = %self.name, device = %device.spec.id, unit = device.spec.unit, profile = %device.spec.profile.id,
            what = %mismatch.what, expected = %mismatch.expected, found = %mismatch.found,
            "another device answers under this address; compare unit and profile in the site file with the device's plate");
        device.meeting.told = Some(mismatch);
    }
}

impl Device {
    /// It is the one of its profile, which is this in full. Gives the readings of what it does not have.
    fn known_as(&mut self, profile: Arc<Profile>) -> Vec<Reading> {
        (self.meeting.open, self.meeting.told) = (None, None);
        self.learn_profile(profile);
        let (points, at) = (&self.spec.profile.points, clock::now());
        let absent = (0..points.len()).filter(|i| points[*i].source == Source::Absent);
        absent.map(|i| Reading::bad(self.spec.point(i), BadReason::Absent, at)).collect()
    }
}
