//! SAs on their way to the workers: which of them have not answered yet.

use crate::io::Input;
use dataplane::id::{Spi, TunnelId, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

/// One generation of a tunnel's SAs.
type Key = (TunnelId, u64);

/// What whoever carries out the controller's orders remembers until the workers have done them.
#[derive(Debug, Default)]
pub struct Installs {
    inbound: BTreeMap<Key, BTreeSet<Spi>>,
    outbound: BTreeMap<Key, Vec<(WorkerId, Spi)>>,
}

impl Installs {
    /// The workers were told to install these inbound SAs.
    pub fn begin_inbound(&mut self, tunnel: TunnelId, generation: u64, spis: &[Spi]) {
        self.inbound.insert((tunnel, generation), spis.iter().copied().collect());
    }

    /// These workers were told to send by these SAs.
    pub fn begin_outbound(&mut self, tunnel: TunnelId, generation: u64, awaited: Vec<(WorkerId, Spi)>) {
        self.outbound.insert((tunnel, generation), awaited);
    }

    /// A worker has installed an inbound SA. The input for the controller once all have.
    pub fn inbound_installed(&mut self, spi: Spi) -> Option<Input> {
        let (&key, left) = self.inbound.iter_mut().find(|(_, left)| left.contains(&spi))?;
        left.remove(&spi);
        left.is_empty().then(|| {
            self.inbound.remove(&key);
            Input::InboundInstalled { tunnel: key.0, generation: key.1 }
        })
    }

    /// A worker uses an outbound SA. The input for the controller once all do.
    pub fn outbound_installed(&mut self, worker: WorkerId, tunnel: TunnelId, spi: Spi) -> Option<Input> {
        let (&key, left) = self
            .outbound
            .iter_mut()
            .find(|((id, _), left)| *id == tunnel && left.contains(&(worker, spi)))?;
        left.retain(|awaited| *awaited != (worker, spi));
        left.is_empty().then(|| {
            self.outbound.remove(&key);
            Input::OutboundInstalled { tunnel: key.0, generation: key.1 }
        })
    }
}
