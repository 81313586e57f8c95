//! A timer of microseconds. Tokio's ticks are milliseconds, which is more than many operations take.

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// A timer of the kernel's. To be made and used within a tokio runtime.
#[derive(Debug)]
pub struct PreciseTimer {
    fd: AsyncFd<OwnedFd>,
    /// When it goes off, if it is set.
    set_to: Option<Instant>,
}

impl PreciseTimer {
    /// One that is not set.
    ///
    /// # Errors
    /// If the system has no more file descriptors for this process.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an OwnedFd is one open file until it is dropped"
        )]
        let fd = AsyncFd::new(timer)?;
        Ok(Self { fd, set_to: None })
    }

    /// Ready when `at` has come, which may be another time at each poll.
    ///
    /// # Errors
    /// What the system says.
    pub fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<io::Result<()>> {
        loop {
            let wait = at.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Poll::Ready(Ok(()));
            }
            if self.set_to != Some(at) {
                let spec = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(wait) };
                timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &spec)?;
                self.set_to = Some(at);
            }
            let mut gone_off = ready!(self.fd.poll_read_ready(cx))?;
            // Setting a timer makes it unreadable again, so what it counted need not be read.
            gone_off.clear_ready();
            self.set_to = None;
        }
    }

    /// Waits until `at`.
    ///
    /// # Errors
    /// What the system says.
    pub async fn wait_until(&mut self, at: Instant) -> io::Result<()> {
        poll_fn(|cx| self.poll_until(cx, at)).await
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
        let mut timer = PreciseTimer::new().expect("Linux has timers");
        for us in [300, 0, 50, 2_000, 1] {
            let at = Instant::now() + Duration::from_micros(us);
            timer.wait_until(at).await.expect("the timer is valid");
            assert!(Instant::now() >= at);
        }
    }

    #[tokio::test]
    async fn it_goes_off_at_the_time_of_the_last_poll_whichever_way_it_was_moved() {
        let mut timer = PreciseTimer::new().expect("Linux has timers");
        for moved_ms in [5, 40] {
            let (start, ms) = (Instant::now(), Duration::from_millis);
            let first = poll_fn(|cx| Poll::Ready(timer.poll_until(cx, start + ms(20)).is_pending())).await;
            assert!(first || start.elapsed() >= ms(20));
            timer.wait_until(start + ms(moved_ms)).await.expect("the timer is valid");
            assert!(start.elapsed() >= ms(moved_ms));
            // Ten times as long on a busy machine is still not for ever.
            assert!(start.elapsed() < ms(10 * moved_ms), "{:?}", start.elapsed());
        }
    }
}
