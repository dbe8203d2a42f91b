//! Emergency plans: the eleven the trade knows, as data.
