//! The application checks.

use crate::checks::{CheckPlan, Kind, Origin, http, postgresql};
use crate::config::Config;
use crate::config::application::{ApplicationCheck, Asked};
use control::checks::CheckConfig;
use dataplane::id::Nanos;

pub fn plans(config: &Config) -> Vec<CheckPlan> {
    config.checks.iter().map(plan).collect()
}

fn plan(check: &ApplicationCheck) -> CheckPlan {
    CheckPlan {
        control: control(check),
        address: check.address,
        kind: match check.asked.clone() {
            Asked::Tcp => Kind::Tcp,
            Asked::Http { path, host, status, body } => Kind::Http(http::Request {
                path: path.into(),
                host: host.map_or_else(|| check.address.to_string(), String::from),
                status: status.iter().map(|status| status.range().clone()).collect(),
                body: body.map(String::from),
            }),
            Asked::PostgreSql { user, database } => Kind::PostgreSql(postgresql::Request {
                user: user.map(String::from),
                database: database.map(String::from),
            }),
        },
        origin: Origin { source: check.source, device: check.device.clone().map(String::from) },
        group: check.group.as_ref().map(ToString::to_string),
    }
}

/// What the controller is told of a check.
pub fn control(check: &ApplicationCheck) -> CheckConfig {
    CheckConfig {
        name: check.name.to_string(),
        blocks: check.blocks,
        interval: Nanos::from_millis(check.interval_ms.get()),
        timeout: Nanos::from_millis(check.timeout_ms.get()),
        rise: check.rise.get() as u32,
        fall: check.fall.get() as u32,
    }
}
