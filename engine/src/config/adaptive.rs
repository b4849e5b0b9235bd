//! `[group.adaptive]`: how a group's tunnels follow its traffic.

use super::section::{Read, Section};
use super::types::Mode;
use super::value::{Probability, Whole};
use std::time::Duration;

/// As written.
#[derive(Clone, Debug, PartialEq)]
pub struct Adaptive {
    /// Do it, or else only record what would have been done.
    pub act: bool,
    /// A path that fails with a probability above this is left; the controller's default if absent.
    pub failure: Option<Probability>,
    /// Share of the shapers' rate above which there is to be more of it.
    pub utilisation: Option<Probability>,
    /// Share of what would be left below which something is given up again.
    pub release: Option<Probability>,
    /// Most tunnels that the group has at one time, the configured ones among them.
    pub tunnels_max: Whole<1, 16>,
    /// Between two actions.
    pub cooldown: Duration,
    /// How long the load must be low before something is given up.
    pub idle: Duration,
    /// Actions allowed in `actions_window`.
    pub actions_max: Whole<2, 1000>,
    /// See `actions_max`.
    pub actions_window: Duration,
    /// Only what encrypts may carry.
    pub encrypted: bool,
    /// Largest inner packet that there must be room for, bytes.
    pub mtu_min: Option<Whole<576, 9600>>,
    /// What a tunnel may cost.
    pub cost_max: Option<Whole<0, 1_000_000>>,
    /// How the traffic is forecast, if it is.
    pub forecast: Option<Forecast>,
}

/// `[group.adaptive.forecast]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// The traffic repeats itself after this long.
    pub season: Duration,
    /// One value of the series.
    pub step: Duration,
    /// How far ahead it counts.
    pub lead: Duration,
}

impl Forecast {
    /// How many steps `of` is.
    pub fn steps(&self, of: Duration) -> usize {
        (of.as_millis() / self.step.as_millis().max(1)) as usize
    }
}

impl Read for Adaptive {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Adaptive> {
        let mode = s.or("mode", Mode::Auto);
        if mode == Mode::Approve {
            let what = "what the traffic needs cannot wait for a person";
            s.wrong("mode", what, "write \"auto\", or \"observe\" to see first what would be done");
        }
        let [failure, utilisation, release] =
            ["failure", "utilisation", "release"].map(|key| s.optional(key));
        let least = utilisation.map_or(UTILISATION, Probability::get);
        if release.map_or(RELEASE, Probability::get) >= least {
            let what = format!("what is given up there would be made again at a utilisation of {least}");
            s.wrong("release", what, format!("write less than {least}"));
        }
        let tunnels_max = s.or("tunnels_max", Whole::constant::<4>());
        let cooldown = s.or("cooldown_ms", Whole::<100, 3_600_000>::constant::<5000>());
        let idle = s.or("idle_seconds", Whole::<1, 86_400>::constant::<60>());
        let actions_max = s.or("actions_max", Whole::constant::<20>());
        let minutes = s.or("actions_minutes", Whole::<1, 1440>::constant::<10>());
        let encrypted = s.or("encrypted", false);
        let (mtu_min, cost_max) = (s.optional("mtu_min"), s.optional("cost_max"));
        let forecast = s.table("forecast").flatten();
        Some(Adaptive {
            act: mode == Mode::Auto,
            failure,
            utilisation,
            release,
            tunnels_max,
            cooldown: Duration::from_millis(cooldown.get()),
            idle: Duration::from_secs(idle.get()),
            actions_max,
            actions_window: Duration::from_secs(minutes.get() * 60),
            encrypted,
            mtu_min,
            cost_max,
            forecast,
        })
    }
}

/// The controller's defaults, which the other one of the two is compared with.
const UTILISATION: f64 = 0.8;
const RELEASE: f64 = 0.5;

/// Telemetry's interval: no step is shorter, or anything but a multiple of it.
const SAMPLE_MS: u64 = predictor::SAMPLE_MS;

impl Read for Forecast {
    fn read(s: &mut Section<'_>, _: usize) -> Option<Forecast> {
        let season = s.or("season_seconds", Whole::<1, 2_678_400>::constant::<86_400>());
        let step = s.or("step_ms", Whole::<100, 3_600_000>::constant::<60_000>());
        let lead = s.or("lead_ms", Whole::<100, 3_600_000>::constant::<300_000>());
        let [season, step, lead] = [season.get() * 1000, step.get(), lead.get()].map(Duration::from_millis);
        let forecast = Forecast { season, step, lead };
        if !(step.as_millis() as u64).is_multiple_of(SAMPLE_MS) {
            let what = format!(
                "{} ms is no multiple of {SAMPLE_MS} ms, in which traffic is measured",
                step.as_millis()
            );
            s.wrong("step_ms", what, "write a multiple of it");
        }
        if forecast.steps(lead) == 0 {
            s.wrong("lead_ms", "is less than a step", "write at least step_ms");
        } else if forecast.steps(season) <= forecast.steps(lead) + 1 {
            let what = "a season must be more than a step longer than the lead";
            s.wrong("season_seconds", what, "write a longer season, or a shorter lead_ms");
        } else if forecast.steps(season) > SEASON_MAX {
            let what = format!("{} steps a season", forecast.steps(season));
            s.wrong("step_ms", what, format!("write a longer step: {SEASON_MAX} are the most"));
        }
        Some(forecast)
    }
}

/// Seven seasons are remembered: half a megabyte.
const SEASON_MAX: usize = 10_080;
