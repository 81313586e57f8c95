//! What else would set the clock.

use crate::program::run;

/// The services of time daemons, as distributions name them.
const SERVICES: [&str; 7] = [
    "systemd-timesyncd.service",
    "chrony.service",
    "chronyd.service",
    "ntp.service",
    "ntpd.service",
    "ntpsec.service",
    "openntpd.service",
];
/// Their processes, as the kernel names them (15 characters).
const PROCESSES: [&str; 3] = ["systemd-timesyn", "chronyd", "ntpd"];

/// The services that run.
///
/// # Errors
/// If one runs that is no service, so that it cannot be stopped and started again.
pub(super) async fn running() -> Result<Vec<String>, String> {
    let args = ["list-units", "--type=service", "--state=active", "--plain", "--no-legend"];
    // Where there is no systemd there are no services of its.
    let services = run("systemctl", &args, "").await.map(|listing| services(&listing)).unwrap_or_default();
    match process() {
        Some(process) if services.is_empty() => {
            Err(format!("{process} runs, and is no service of systemd that could be stopped"))
        }
        _ => Ok(services),
    }
}

/// Those of a listing of units.
fn services(listing: &str) -> Vec<String> {
    let names = listing.lines().filter_map(|line| line.split_ascii_whitespace().next());
    names.filter(|name| SERVICES.contains(name)).map(str::to_owned).collect()
}

fn process() -> Option<String> {
    let entries = std::fs::read_dir("/proc").ok()?;
    let names = entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).find(|name| PROCESSES.contains(&name.as_str()))
}

/// Stops them, and looks whether none is left.
pub(super) async fn stop(services: &[String]) -> Result<(), String> {
    for service in services {
        run("systemctl", &["stop", service], "").await?;
    }
    match process() {
        Some(process) => Err(format!("{process} runs still")),
        None => Ok(()),
    }
}

/// Starts them, and looks whether they run.
pub(super) async fn start(services: &[String]) -> Result<(), String> {
    // One that does not start does not keep the others from it.
    let mut started = Ok(());
    for service in services {
        started = started.and(run("systemctl", &["start", service], "").await.map(drop));
    }
    started?;
    let running = if services.is_empty() { Vec::new() } else { running().await? };
    match services.iter().find(|service| !running.contains(service)) {
        Some(service) => Err(format!("{service} was started and does not run")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_daemons_are_told_from_other_services() {
        let listing = "dbus.service loaded active running D-Bus System Message Bus\n\
            systemd-timesyncd.service loaded active running Network Time Synchronization\n\
            chrony-wait.service loaded active exited Wait for chrony\n";
        assert_eq!(services(listing), ["systemd-timesyncd.service"]);
    }
}
