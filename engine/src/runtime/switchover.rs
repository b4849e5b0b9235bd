//! Switchovers and application checks, as they are shown.

use super::engine::Engine;
use crate::api::switchover::{CheckStatus, CheckView, PassageStatus, SwitchoverStatus};
use control::switchover::Passage;
use dataplane::id::Nanos;

impl Engine {
    pub(super) fn switchover_status(&self, now: Nanos) -> Option<SwitchoverStatus> {
        self.controller.switchover().map(|s| {
            let (began, moving) = (s.began(), s.is_moving());
            let since = s.passages.last().map_or(began, |last| last.at);
            let passage = |passage: Passage| PassageStatus {
                stage: passage.stage,
                after_ms: passage.at.since(began).as_millis(),
                skipped: passage.skipped,
                reason: passage.reason,
            };
            SwitchoverStatus {
                decision: s.decision,
                cause: s.cause,
                from: s.from,
                target: s.target,
                stage: s.stage,
                stage_ms: now.since(since).as_millis(),
                waits_for: s.waits_for,
                moving,
                percent: s.percent,
                step: s.step.0,
                steps: s.step.1,
                elapsed_ms: now.since(began).as_millis(),
                ended_ms: s.ended.map(|ended| now.since(ended).as_millis()),
                passages: s.passages.into_iter().map(passage).collect(),
            }
        })
    }

    pub(super) fn check_status(&self, now: Nanos) -> Vec<CheckStatus> {
        let view = |view: control::status::CheckView| CheckView {
            state: view.state,
            age_ms: view.began.map(|began| now.since(began).as_millis()),
            reason: view.reason,
        };
        let checks = self.controller.checks().into_iter().zip(&self.plan.checks);
        let status = |(check, plan): (control::status::CheckStatus, &crate::checks::CheckPlan)| CheckStatus {
            name: check.name,
            kind: plan.kind.name().to_owned(),
            address: plan.address,
            group: plan.group.clone(),
            blocks: check.blocks,
            here: view(check.here),
            there: check.there.map(view),
        };
        checks.map(status).collect()
    }
}
