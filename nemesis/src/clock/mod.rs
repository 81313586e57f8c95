//! A host's system clock: moved for programs that have no clock of ours, and set right again.
//!
//! What time it is meanwhile follows from the time since boot, which nobody can set: the two were read side by side before the
//! first fault. That reading and the time daemons that were stopped for it are written down before anything is moved, so that
//! whoever comes after a process that was killed can set the clock right.
//!
//! | file | concept |
//! |---|---|
//! | `daemons.rs` | what else would set the clock: stopped, and started again |
//! | `permission.rs` | whether the clock is the host's own, and may be set |

mod daemons;
mod permission;

use protocol::control::ClockSetting;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

/// A clock that is wrong by less was set right: there is some time between setting it and looking at it.
const HEALED_NS: u64 = 2_000_000;
/// How often the two clocks are read side by side; the quickest reading counts.
const READINGS: usize = 8;

/// The clock of this host.
#[derive(Debug)]
pub struct HostClock {
    /// Where it is written down what has to be put right.
    file: PathBuf,
    held: Option<Held>,
    setting: ClockSetting,
    /// Since when its rate holds, by the time since boot.
    rate_since_ns: i64,
}

/// What has to be put right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    /// Another boot has another, and other time since boot.
    boot: String,
    /// The right time less the time since boot; none where the clock is right, and only services have to be started.
    base_ns: Option<i64>,
    /// The services that were stopped.
    daemons: Vec<String>,
}

impl HostClock {
    /// Nothing in force. Call [`HostClock::heal`] first where an earlier life may have left something; `file` is where it wrote.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Self { file, held: None, setting: ClockSetting::default(), rate_since_ns: 0 }
    }

    /// Whether the clock can be moved here: the time daemons that would have to be stopped.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn probe() -> Result<Vec<String>, String> {
        permission::check().await?;
        daemons::running().await
    }

    /// Puts this in force: from now on the clock is so far off, and goes so fast. The first time, time daemons are stopped.
    ///
    /// # Errors
    /// Why it is not. What is in force then is uncertain: heal.
    pub async fn set(&mut self, setting: ClockSetting) -> Result<(), String> {
        if setting == self.setting {
            return Ok(());
        }
        if self.base_held().is_none() {
            self.hold().await?;
        }
        let before = (self.setting, self.rate_since_ns);
        if setting.rate != self.setting.rate {
            self.rate_since_ns = now_ns(ClockId::Boottime);
        }
        self.setting = setting;
        let moved = self.step();
        if moved.is_err() {
            (self.setting, self.rate_since_ns) = before;
        }
        moved
    }

    fn base_held(&self) -> Option<i64> {
        self.held.as_ref()?.base_ns
    }

    /// Whether it has to be moved again and again.
    #[must_use]
    pub fn runs_wrong(&self) -> bool {
        self.setting.rate != 1.0
    }

    /// Moves the clock to where it must be now.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn step(&self) -> Result<(), String> {
        let Some(held_ns) = self.base_held() else { return Ok(()) };
        let boot_ns = now_ns(ClockId::Boottime);
        set_ns(held_ns + boot_ns + error_ns(self.setting, boot_ns - self.rate_since_ns))
    }

    /// How far the clock is ahead of what it should be, microseconds: seen, not remembered.
    #[must_use]
    pub fn error_us(&self) -> i64 {
        self.base_held().map_or(0, |held_ns| (base_ns() - held_ns) / 1_000)
    }

    /// The time daemons that were stopped.
    #[must_use]
    pub fn stopped(&self) -> &[String] {
        self.held.as_ref().map_or(&[], |held| &held.daemons)
    }

    /// Sets right what was moved, whoever moved it, looks whether it is right, and starts the time daemons that were stopped.
    ///
    /// # Errors
    /// If it is not right, or a daemon does not run.
    pub async fn heal(&mut self) -> Result<(), String> {
        self.setting = ClockSetting::default();
        if self.held.is_none() {
            self.held = self.written()?;
        }
        if let Some(held_ns) = self.base_held() {
            self.step()?;
            let error_ns = base_ns() - held_ns;
            if error_ns.unsigned_abs() > HEALED_NS {
                return Err(format!("the clock was set right and is {} us off", error_ns / 1_000));
            }
        }
        self.start_daemons().await
    }

    /// All that is to be put right of a clock that is right. Should that fail, whoever tries it again must not move the clock: somebody
    /// else may have set it meanwhile.
    async fn start_daemons(&mut self) -> Result<(), String> {
        let Some(held) = &mut self.held else { return Ok(()) };
        let noted = match held.base_ns.take() {
            Some(_) => {
                let held = held.clone();
                self.write(&held)
            }
            None => Ok(()),
        };
        if let Err(why) = daemons::start(self.stopped()).await {
            return Err(noted.err().map_or(why.clone(), |also| format!("{why}; {also}")));
        }
        self.forget()?;
        self.held = None;
        Ok(())
    }

    fn forget(&self) -> Result<(), String> {
        match std::fs::remove_file(&self.file) {
            // A guard and an agent that follows may be at it together.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(self.at_file(error)),
            _ => Ok(()),
        }
    }

    async fn hold(&mut self) -> Result<(), String> {
        let mut daemons = Self::probe().await?;
        // Those that should run, and did not start, are not forgotten.
        for name in self.stopped() {
            if !daemons.contains(name) {
                daemons.push(name.clone());
            }
        }
        let mut held = Held { boot: boot()?, base_ns: Some(base_ns()), daemons };
        self.write(&held)?;
        self.held = Some(held.clone());
        let mut stopped = daemons::stop(&held.daemons).await;
        if stopped.is_ok() {
            // They may have moved it until now.
            held.base_ns = Some(base_ns());
            stopped = self.write(&held);
        }
        let Err(why) = stopped else {
            self.held = Some(held);
            return Ok(());
        };
        // Nothing was moved yet.
        match self.start_daemons().await {
            Ok(()) => Err(why),
            Err(left) => Err(format!("{why}; {left}")),
        }
    }

    fn write(&self, held: &Held) -> Result<(), String> {
        let unready = self.file.with_extension("new");
        let text = serde_json::to_vec(held).expect("plain data");
        let written = File::create(&unready).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&unready, &self.file)
        });
        written.map_err(|error| self.at_file(error))
    }

    /// What an earlier life of this boot has written down.
    fn written(&self) -> Result<Option<Held>, String> {
        let text = match std::fs::read(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.at_file(error)),
        };
        let held: Held = serde_json::from_slice(&text).map_err(|error| self.at_file(error))?;
        if held.boot == boot()? {
            return Ok(Some(held));
        }
        // A machine that has started since has asked its own clock, and started its own daemons.
        self.forget().map(|()| None)
    }

    fn at_file(&self, error: impl std::fmt::Display) -> String {
        format!("{}: {error}", self.file.display())
    }
}

/// How far a clock must be off under a setting whose rate has held for so long.
fn error_ns(setting: ClockSetting, held_ns: i64) -> i64 {
    let by_rate = (setting.rate - 1.0) * held_ns as f64;
    setting.offset_us.saturating_mul(1_000).saturating_add(by_rate as i64)
}

fn boot() -> Result<String, String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).map_err(|error| format!("reading which boot this is: {error}"))
}

fn now_ns(clock: ClockId) -> i64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    tv_sec * 1_000_000_000 + tv_nsec
}

/// What the clock says less the time since boot.
fn base_ns() -> i64 {
    let reading = |_| {
        let before = now_ns(ClockId::Boottime);
        let time = now_ns(ClockId::Realtime);
        let took = now_ns(ClockId::Boottime) - before;
        (took, time - (before + took / 2))
    };
    (0..READINGS).map(reading).min().expect("some readings").1
}

fn set_ns(ns: i64) -> Result<(), String> {
    let time = Timespec { tv_sec: ns.div_euclid(1_000_000_000), tv_nsec: ns.rem_euclid(1_000_000_000) };
    clock_settime(ClockId::Realtime, time).map_err(|error| format!("setting the system clock: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_and_rate_add_up() {
        let second = 1_000_000_000;
        let setting = |offset_us, rate| ClockSetting { offset_us, rate };
        assert_eq!(error_ns(setting(-5_000_000, 1.0), 7 * second), -5 * second);
        assert_eq!(error_ns(setting(0, 1.5), 4 * second), 2 * second);
        assert_eq!(error_ns(setting(1_000_000, 0.5), 4 * second), -second);
    }

    #[test]
    fn the_base_does_not_move_while_nobody_moves_the_clock() {
        assert!((base_ns() - base_ns()).abs() < 1_000_000_000, "readings side by side agree");
    }

    #[tokio::test]
    async fn what_was_written_in_another_boot_is_forgotten_and_what_cannot_be_read_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("clock.json");
        let mut clock = HostClock::new(file.clone());
        clock.heal().await.unwrap();
        let held = Held { boot: "another".into(), base_ns: Some(0), daemons: vec!["chrony.service".into()] };
        clock.write(&held).unwrap();
        clock.heal().await.unwrap();
        assert!(!file.exists() && clock.stopped().is_empty());
        let held = Held { boot: boot().unwrap(), ..held };
        clock.write(&held).unwrap();
        assert_eq!(clock.written().unwrap(), Some(held));
        std::fs::write(&file, "torn").unwrap();
        assert!(clock.heal().await.unwrap_err().contains("clock.json"));
    }

    #[tokio::test]
    async fn a_clock_that_is_right_is_left_alone_while_its_daemons_are_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("clock.json");
        let mut clock = HostClock::new(file.clone());
        let held =
            Held { boot: boot().unwrap(), base_ns: None, daemons: vec!["no-such-daemon.service".into()] };
        clock.write(&held).unwrap();
        clock.heal().await.unwrap_err();
        assert_eq!(clock.error_us(), 0);
        assert_eq!(clock.written().unwrap(), Some(held.clone()), "whoever comes next tries it again");
        let mut clock = HostClock::new(file.clone());
        clock.write(&Held { daemons: Vec::new(), ..held }).unwrap();
        clock.heal().await.unwrap();
        assert!(!file.exists());
    }
}
