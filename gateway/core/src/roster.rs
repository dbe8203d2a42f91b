//! Who is on duty, by role, at an instant.
