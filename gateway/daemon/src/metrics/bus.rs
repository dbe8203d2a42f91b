//! How the field lines are doing: utilisation, saturation, errors.

use crate::live::Live;
use crate::metrics::page::Page;

/// Writes the statistics of every line.
pub fn write(_page: &mut Page, _live: &Live) {}
