//! SAs agreed on with foreign peers. Their keys outlive the process, so what is used up of them is on disk before the first
//! packet (see [`crate::epochs`]). Those of the site move with its ownership (see [`super::site_sas`]).

use super::sas::SecurityAssociations;
use super::site_sas::Shared;
use super::workers::Workers;
use crate::epochs::{Epochs, Lane, key_id};
use crate::plan::{EspPlan, Plan, StaticSaPlan};
use anyhow::{Context as _, Result, ensure};
use control::message::SaParameters;
use control::shadow::takeover::{About, SiteSa};
use dataplane::id::{Spi, TunnelId, WorkerId};
use dataplane::message::{Command, Inbound};
use dataplane::replay::{ReplayWindow, WindowState};
use dataplane::sa::{AeadProvider, Algorithm, InboundSa, OutboundSa, Partition, SaKey};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

/// Whose they all are: the configuration allows one worker.
pub const WORKER: WorkerId = WorkerId(0);

/// What a former process has accepted, by inbound SPI.
pub type Windows = BTreeMap<Spi, WindowState>;

/// What both the loop and those who keep other engines' reservations write.
pub type SharedEpochs = Arc<Mutex<Epochs>>;

/// What is sent by one of them.
pub struct Sending {
    /// The key of what leaves.
    pub key: Zeroizing<Vec<u8>>,
    /// What is used of it.
    pub epochs: SharedEpochs,
    /// A successor is on its way to the worker.
    pub renewing: bool,
    /// It belongs to the owner of the site.
    pub site: Option<Shared>,
}

/// All of them, by tunnel.
#[derive(Default)]
pub struct StaticSas(pub(super) BTreeMap<TunnelId, Sending>);

impl StaticSas {
    /// Reads the keys, takes a part of each and installs both SAs.
    ///
    /// # Errors
    /// If a key cannot be read or what is used of it not written down.
    pub fn start(
        plan: &Plan,
        provider: &dyn AeadProvider,
        sas: &mut SecurityAssociations,
        (windows, workers): (&Windows, &mut Workers),
    ) -> Result<StaticSas> {
        let mut all = StaticSas::default();
        for tunnel in &plan.tunnels {
            let Some((esp, static_sa)) = parts(plan, tunnel.id) else { continue };
            let sending = all
                .one(esp, static_sa, (tunnel.id, provider), (windows, workers))
                .with_context(|| format!("static SAs of tunnel {}", tunnel.name))?;
            all.0.insert(tunnel.id, sending);
            sas.note_static(tunnel.id, static_sa.spi_in, static_sa.spi_out);
        }
        Ok(all)
    }

    fn one(
        &self,
        esp: &EspPlan,
        plan: &StaticSaPlan,
        (tunnel, provider): (TunnelId, &dyn AeadProvider),
        (windows, workers): (&Windows, &mut Workers),
    ) -> Result<Sending> {
        let key_in = read_key(&plan.key_file_in, esp.algorithm)?;
        let key = read_key(&plan.key_file_out, esp.algorithm)?;
        ensure!(*key_in != *key, "both ends would send under one key, and their nonces would meet");
        let used = self.0.values().any(|other| *other.key == *key);
        ensure!(!used, "another tunnel sends under the key of {}", plan.key_file_out.display());
        let epochs = Epochs::open(&plan.state_folder, &key, plan.site.unwrap_or(Lane::ALONE))?;
        let epochs = Arc::new(Mutex::new(epochs));
        if plan.site.is_some() {
            let about = About {
                key_in: key_id(&key_in),
                key_out: key_id(&key),
                spi_in: plan.spi_in,
                spi_out: plan.spi_out,
                parameters: SaParameters { algorithm: esp.algorithm, esn: esp.esn },
                size: esp.replay_window,
            };
            let share = Command::Share { spi: plan.spi_in, tunnel };
            ensure!(workers.command(WORKER, share), "the worker is stuck");
            let disk = epochs.lock().unwrap_or_else(PoisonError::into_inner).disk();
            let site = Some(Shared { sa: SiteSa::new(about, disk), key_in });
            return Ok(Sending { key, epochs, renewing: false, site });
        }
        let opening = SaKey::new(provider, esp.algorithm, &key_in)?;
        let window = match windows.get(&plan.spi_in) {
            Some(window) => ReplayWindow::resumed(window, esp.replay_window, esp.esn),
            None => ReplayWindow::new(esp.replay_window, esp.esn),
        };
        let sa = InboundSa::resumed(plan.spi_in, opening, window, esp.esn).context("inbound SA")?;
        let inbound = Command::InstallInbound(Box::new(Inbound { tunnel, sa }));
        ensure!(workers.command(WORKER, inbound), "the worker is stuck");
        let mut sending = Sending { key, epochs, renewing: false, site: None };
        let part = sending.take(esp.esn)?;
        sending.install(part, esp, plan, (tunnel, provider), workers)?;
        Ok(sending)
    }

    /// Whether the tunnel's SAs are such.
    pub fn has(&self, tunnel: TunnelId) -> bool {
        self.0.contains_key(&tunnel)
    }

    /// Half of what was taken is sent: takes the next part. Where it cannot be written down, the tunnel falls silent with
    /// its last number, and the log says why.
    pub fn renew(
        &mut self,
        tunnel: TunnelId,
        plan: &Plan,
        provider: &dyn AeadProvider,
        workers: &mut Workers,
    ) {
        let (Some(sending), Some((esp, static_sa))) = (self.0.get_mut(&tunnel), parts(plan, tunnel)) else {
            return;
        };
        if sending.renewing || sending.site.is_some() {
            return;
        }
        let part = sending.take(esp.esn);
        let renewed =
            part.and_then(|part| sending.install(part, esp, static_sa, (tunnel, provider), workers));
        if let Err(error) = renewed {
            let name = &plan.tunnels[tunnel.index()].name;
            tracing::error!(tunnel = name, "the static SA is not renewed, and ends: {error:#}");
            // Not with every report of the worker.
            sending.renewing = true;
        }
    }

    /// The worker uses the newest.
    pub fn installed(&mut self, tunnel: TunnelId) {
        if let Some(sending) = self.0.get_mut(&tunnel) {
            sending.renewing = false;
        }
    }
}

impl Sending {
    /// Takes the next part of the key.
    pub fn take(&self, esn: bool) -> Result<Partition> {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner).take(esn)
    }

    /// Gives the worker an SA that sends within `part`.
    pub fn install(
        &mut self,
        part: Partition,
        esp: &EspPlan,
        plan: &StaticSaPlan,
        (tunnel, provider): (TunnelId, &dyn AeadProvider),
        workers: &mut Workers,
    ) -> Result<()> {
        let key = SaKey::new(provider, esp.algorithm, &self.key)?;
        let sa = OutboundSa::partitioned(plan.spi_out, key, part, esp.esn).context("outbound SA")?;
        let outbound = Command::InstallOutbound(tunnel, Box::new(sa));
        ensure!(workers.command(WORKER, outbound), "the worker is stuck");
        self.renewing = true;
        Ok(())
    }
}

/// How a tunnel's static SAs are made, if it has such.
pub fn parts(plan: &Plan, tunnel: TunnelId) -> Option<(&EspPlan, &StaticSaPlan)> {
    let esp = plan.tunnels[tunnel.index()].esp.as_ref()?;
    Some((esp, esp.static_sa.as_ref()?))
}

/// Key and salt (RFC 4106 §8.1, RFC 7634 §2) from a file of hexadecimal digits that only its owner may read.
fn read_key(file: &Path, algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>> {
    let read = || format!("the key file {} cannot be read", file.display());
    let mode = fs::metadata(file).with_context(read)?.permissions().mode();
    ensure!(mode & 0o077 == 0, "others may read the key file {}: chmod 600", file.display());
    let text = Zeroizing::new(fs::read_to_string(file).with_context(read)?);
    let digits = text.trim_end();
    let wanted = algorithm.keymat_length();
    let wrong = || format!("{} must hold {} hexadecimal digits: key and salt", file.display(), 2 * wanted);
    ensure!(digits.len() == 2 * wanted && digits.bytes().all(|digit| digit.is_ascii_hexdigit()), wrong());
    let mut key = Zeroizing::new(Vec::with_capacity(wanted));
    for at in (0..digits.len()).step_by(2) {
        key.push(u8::from_str_radix(&digits[at..at + 2], 16).with_context(wrong)?);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_hexadecimal_and_private() {
        let file = std::env::temp_dir().join(format!("foreshift-key-{}", std::process::id()));
        let read = |text: &str, mode: u32| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            read_key(&file, Algorithm::Aes128Gcm).map(|key| key.to_vec()).map_err(|error| error.to_string())
        };
        let digits = "00112233445566778899aabbccddeeff0badcafe";
        assert_eq!(read(&format!("{digits}\n"), 0o600).unwrap()[..3], [0, 0x11, 0x22]);
        assert!(read(digits, 0o640).unwrap_err().contains("chmod 600"));
        for wrong in
            [&digits[1..], &format!("{digits}00"), &digits.replace("ff", "fg"), &digits.replace("ff", "+f")]
        {
            assert!(read(wrong, 0o600).unwrap_err().contains("must hold 40"), "{wrong}");
        }
        fs::remove_file(&file).unwrap();
        assert!(read_key(&file, Algorithm::Aes128Gcm).unwrap_err().to_string().contains("cannot be read"));
    }
}
