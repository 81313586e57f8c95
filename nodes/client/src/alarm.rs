//! One timer for a client that sets a new time for every command.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer whose time may be changed at every poll. Commands mostly end long before their time-outs: the timer underneath
/// is moved only when it would fire too late, or has fired too early, so that a command costs no timer at all.
#[derive(Debug)]
pub(crate) struct Alarm {
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self { sleep: Box::pin(sleep_until(Instant::now())) }
    }

    /// Ready when `at` has come.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        if self.sleep.deadline() > at {
            self.sleep.as_mut().reset(at);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if self.sleep.deadline() >= at {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(at);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_fires_at_the_time_of_the_last_poll_whichever_way_it_was_moved() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut alarm = Alarm::new();
        poll_fn(|cx| alarm.poll(cx, after(50))).await;
        assert_eq!(start.elapsed(), Duration::from_millis(50));
        for moved in [900, 970, 950] {
            // Asked for another time first, and then moved, as by a command that ends before its time-out.
            poll_fn(|cx| Poll::Ready(alarm.poll(cx, after(960)).is_ready())).await;
            poll_fn(|cx| alarm.poll(cx, after(moved))).await;
            assert!(start.elapsed() >= Duration::from_millis(moved), "{moved}: {:?}", start.elapsed());
        }
        assert_eq!(start.elapsed(), Duration::from_millis(970));
    }
}
