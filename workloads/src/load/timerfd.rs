//! A timer of microseconds. Tokio's ticks are milliseconds, which is more than most ops of an open loop take.

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// A timer of the kernel's.
#[derive(Debug)]
pub(super) struct PreciseTimer {
    fd: AsyncFd<OwnedFd>,
}

impl PreciseTimer {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an OwnedFd is one open file until it is dropped"
        )]
        let fd = AsyncFd::new(timer)?;
        Ok(Self { fd })
    }

    /// Waits until `at`.
    pub(super) async fn wait_until(&self, at: Instant) -> io::Result<()> {
        loop {
            let wait = at.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Ok(());
            }
            let spec = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(wait) };
            timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &spec)?;
            let mut ready = self.fd.readable().await?;
            // Setting a timer makes it unreadable again, so what it counted need not be read.
            ready.clear_ready();
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    let tv_sec = i64::try_from(duration.as_secs()).expect("a wait of less than 292 billion years");
    Timespec { tv_sec, tv_nsec: i64::from(duration.subsec_nanos()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_no_shorter_than_asked_again_and_again() {
        let timer = PreciseTimer::new().expect("Linux has timers");
        for us in [300, 0, 50, 2_000, 1] {
            let at = Instant::now() + Duration::from_micros(us);
            timer.wait_until(at).await.expect("the timer is valid");
            assert!(Instant::now() >= at);
        }
    }
}
