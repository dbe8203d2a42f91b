//! What has changed in the table of latest values, for those who tell others.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use guanjia_core::reading::PointIx;
use tokio::sync::Notify;

/// What one change of the table was about.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Another value, or another quality.
    pub points: Vec<PointIx>,
    /// Another health of a device.
    pub health: bool,
}

/// What has changed since one looker asked last. However fast readings come, a looker that asks seldom finds each point
/// once.
#[derive(Debug)]
pub struct Changes(Arc<Marks>);

/// What a looker has not taken yet.
#[derive(Debug)]
pub(super) struct Marks {
    marked: Mutex<Marked>,
    ring: Notify,
}

#[derive(Debug)]
struct Marked {
    /// One bit a point.
    points: Vec<u64>,
    devices: bool,
}

impl Changes {
    /// Of a table of so many points, with the side that marks them.
    pub(super) fn of(points: usize) -> (Self, Weak<Marks>) {
        let marked = Mutex::new(Marked { points: vec![0; points.div_ceil(64)], devices: true });
        let marks = Arc::new(Marks { marked, ring: Notify::new() });
        let weak = Arc::downgrade(&marks);
        (Self(marks), weak)
    }

    /// Waits until something has changed that was not taken yet.
    pub async fn changed(&self) {
        self.0.ring.notified().await;
    }

    /// The points whose value or quality has changed, in order, and whether the health of any device has.
    pub fn take(&self) -> (Vec<PointIx>, bool) {
        let mut marked = self.0.marked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut points = Vec::new();
        for (index, word) in marked.points.iter_mut().enumerate() {
            let mut bits = std::mem::take(word);
            while bits != 0 {
                points.push(PointIx(index as u32 * 64 + bits.trailing_zeros()));
                bits &= bits - 1;
            }
        }
        (points, std::mem::take(&mut marked.devices))
    }
}

impl Marks {
    /// Marks what a change was about, and wakes the looker.
    pub(super) fn mark(&self, touched: &Touched) {
        {
            let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
            for point in &touched.points {
                if let Some(word) = marked.points.get_mut(point.0 as usize / 64) {
                    *word |= 1 << (point.0 % 64);
                }
            }
            marked.devices |= touched.health;
        }
        self.ring.notify_one();
    }
}
