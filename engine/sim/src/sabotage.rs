//! Rules broken on purpose, in the simulated wiring around controller and workers, so that tests see each
//! checker catch what it is there for. No production code knows of this.

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The SAs of a tunnel's workers share one key.
    SharedKey,
    /// Workers are not told that the lease ends.
    EndlessLease,
    /// Workers are not told to refuse an engine whose epoch is over.
    NoFence,
    /// Ports keep buffers of transmitted packets.
    LeakyPort,
    /// Ports take packets that they do not count.
    LossyPort,
    /// Inbound SAs are installed over and over, each time with an empty replay window.
    NoWindow,
    /// Busy buckets move at once.
    Impatient,
    /// Two workers get different snapshots of one generation.
    SplitSnapshot,
    /// An engine that was started again gets no outbound SAs.
    KeyedOnce,
    /// Both engines of a site hand everything to each other and do not see that it comes from there.
    HandBack,
    /// The state store overwrites whatever the writer expects to be there.
    HeedlessStore,
    /// Engines are not told that the state store does not answer.
    UntoldOutage,
    /// The watches of the state store lose what they should bring.
    DeafWatch,
    /// A new owner begins with an empty window.
    NoFloor,
}
