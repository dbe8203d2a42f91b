//! Several reads under way at once, where a device or the site file allows it (Modbus TCP only).
//!
//! Only reads of slots and probes travel together. A command waits until all that is under way has ended, each by its
//! own deadline, and travels alone: so it starts within one transaction, and a read that began before a write cannot
//! end after it.

use tokio::time::Instant;

use super::Line;
use super::device::Device;
use super::poll::Turn;
use crate::bus::Timing;
use crate::clock::Moment;
use crate::frame::Framing;

/// Questions under way at once on one line, whatever a profile or the site file says.
pub const IN_FLIGHT_MAX: u8 = 16;

/// How many questions may be under way on a line: as many as its one device takes; if several share it, as many as the
/// site file says. A device that wants pauses gets them.
pub(super) fn window(timing: &Timing, devices: &[Device]) -> u8 {
    let limits = |d: &Device| d.spec.profile.limits.clone();
    let wants_pauses = |d: &Device| !(limits(d).silence_min.is_zero() && limits(d).interval_min.is_zero());
    if timing.framing != Framing::Mbap || devices.iter().any(wants_pauses) {
        return 1;
    }
    let said = match devices {
        [alone] => alone.spec.profile.limits.in_flight_max,
        _ => timing.in_flight_max,
    };
    said.clamp(1, IN_FLIGHT_MAX)
}

impl Line {
    /// Asks without waiting for the answer.
    pub(super) async fn launch(&mut self, turn: Turn) {
        let device = &mut self.devices[turn.device];
        device.asked(turn.started);
        match self.bus.launch(device.ask(&turn.request), turn.started).await {
            Ok(tid) => {
                device.under_way += 1;
                self.under_way.push((tid, turn));
            }
            Err(miss) => {
                let answer = self.not_asked(turn.device, &miss);
                self.settle(turn, answer, Moment::now());
            }
        }
    }

    /// Waits for the next answer, or for the end of the wait for one, but no longer than `until`.
    pub(super) async fn land(&mut self, until: Instant) {
        let landed = tokio::select! {
            landed = self.bus.land(until) => landed,
            () = self.stop.cancelled() => return,
        };
        let Some(landed) = landed else { return };
        let Some(at) = self.under_way.iter().position(|(tid, _)| *tid == landed.tid) else { return };
        let (_, turn) = self.under_way.swap_remove(at);
        self.devices[turn.device].under_way -= 1;
        let answer = self.heard(turn.device, landed.answer, landed.ended);
        self.settle(turn, answer, landed.ended);
    }

    /// Whether as much is under way as may be.
    pub(super) fn is_full(&self) -> bool {
        self.under_way.len() >= usize::from(self.window)
    }

    /// The questions one device may have under way.
    pub(super) fn in_flight_max(&self, device: &Device) -> u8 {
        device.spec.profile.limits.in_flight_max.clamp(1, self.window)
    }
}
