//! What passes between the control core and the workers: whole values through a [`mailbox`],
//! streams through an SPSC [`ring`]. Neither side ever waits for the other. [`zeroed`] holds the large tables that one
//! side changes in place.

pub mod mailbox;
pub mod prefetch;
pub mod ring;
pub mod zeroed;
