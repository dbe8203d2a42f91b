//! What can go wrong in the simulator, said so that the person at the command line knows what to do.

/// An order that the building cannot carry out.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A server's port cannot be opened.
    #[error("cannot listen on 127.0.0.1 port {port}: {source}; choose another port, or 0 for any")]
    Listen {
        /// The wanted port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// The HTTP client cannot be built.
    #[error("cannot make an HTTP client: {0}")]
    Client(reqwest::Error),
    /// The configuration makes no sense.
    #[error("{0}")]
    Config(String),
    /// A saved state is damaged.
    #[error("the saved state of the building is damaged at {0}; delete it to start afresh")]
    Snapshot(String),
    /// No such device.
    #[error("no device {0} in this building; GET /state lists them")]
    UnknownDevice(String),
    /// No such story.
    #[error(
        "no story {0}; there are fire-alarm, lift-entrapment, water-leak, shop-out-of-credit, mains-outage, meter-dies, serial-server-hangs, garbage-on-line"
    )]
    UnknownStory(String),
    /// A story cannot happen there.
    #[error(
        "{story} cannot happen to {target}; give a zone or floor 1 to 3, a lift, a meter, a shop with a relay or a line, as the story needs"
    )]
    UnknownTarget {
        /// The story.
        story: &'static str,
        /// Where it was wanted.
        target: String,
    },
    /// The device is something else.
    #[error("{device} is not {wanted}")]
    WrongKind {
        /// The device.
        device: String,
        /// What was needed.
        wanted: &'static str,
    },
    /// The register is not in the device's map.
    #[error("{device} has no register {address} in that table; GET /registers/{device} lists them")]
    NoSuchRegister {
        /// The device.
        device: String,
        /// The address, zero based.
        address: u16,
    },
    /// Nobody paged that person with a link.
    #[error("{0} has no page with a link that acknowledges")]
    NothingToAcknowledge(String),
    /// The gateway did not take the acknowledgement.
    #[error("cannot {step} {link}: {why}")]
    Acknowledge {
        /// The link.
        link: String,
        /// `open` or `press`.
        step: &'static str,
        /// What happened instead.
        why: String,
    },
    /// The payment channel refuses.
    #[error("the payment channel refuses: {0}")]
    Payment(String),
}
