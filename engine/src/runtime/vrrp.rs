//! The election of the gateway, for people.

use super::engine::Engine;
use crate::api::status::VrrpStatus;

impl Engine {
    /// One line an IP version.
    pub fn vrrp_status(&self) -> Vec<VrrpStatus> {
        let with =
            self.plan.forwarding.interfaces.iter().find_map(|i| Some((i.id, i.virtual_router.as_ref()?)));
        let Some((interface, router)) = with else { return Vec::new() };
        let interface = &self.plan.interface_names[interface.index()];
        let elections = self.controller.virtual_routers().into_iter();
        elections
            .map(|election| VrrpStatus {
                interface: interface.clone(),
                vrid: router.number.0,
                local: election.local,
                state: election.state,
                priority: election.priority,
                other: election.other,
            })
            .collect()
    }
}
