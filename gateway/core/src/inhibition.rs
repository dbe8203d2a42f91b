//! Root causes and their children.
