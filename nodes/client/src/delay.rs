//! A way to a replica that is far away.

use crate::link::{Link, LinkEvent};
use crate::timer::PreciseTimer;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// Replies that are on their way at most: a replica that says more than it was asked is not read meanwhile.
const REPLIES_MAX: usize = 1 << 10;

/// A link on which everything takes longer, by the same time both ways: requests to get there, and replies, and the news that the
/// connection is gone, to get back. Nothing overtakes anything.
///
/// A request that is on its way when the connection breaks never arrives, nor does one that is sent before the news of that is here.
pub struct Delayed<L: Link> {
    link: L,
    one_way: Duration,
    requests: VecDeque<(Instant, L::Request)>,
    events: VecDeque<(Instant, LinkEvent<L::Reply>)>,
    /// Made when it is first needed.
    timer: Option<PreciseTimer>,
}

impl<L: Link> Delayed<L> {
    /// The link, with so much more of a way; with none, it is as it was.
    #[must_use]
    pub fn new(link: L, one_way: Duration) -> Self {
        Self { link, one_way, requests: VecDeque::new(), events: VecDeque::new(), timer: None }
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<io::Result<()>> {
        let timer = match &mut self.timer {
            Some(timer) => timer,
            None => self.timer.insert(PreciseTimer::new()?),
        };
        timer.poll_until(cx, at)
    }

    /// Hears what the replica has said by now; it is told when it has come the whole way.
    fn listen(&mut self, cx: &mut Context<'_>) {
        while self.events.len() < REPLIES_MAX
            && let Poll::Ready(event) = self.link.poll(cx)
        {
            if matches!(event, LinkEvent::Down { .. }) {
                self.requests.clear();
            }
            self.events.push_back((Instant::now() + self.one_way, event));
        }
    }
}

impl<L: Link> Link for Delayed<L> {
    type Request = L::Request;
    type Reply = L::Reply;

    fn begin_command(&mut self) {
        self.link.begin_command();
    }

    fn send(&mut self, request: L::Request) {
        if self.one_way.is_zero() {
            return self.link.send(request);
        }
        self.requests.push_back((Instant::now() + self.one_way, request));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent<L::Reply>> {
        if self.one_way.is_zero() {
            return self.link.poll(cx);
        }
        loop {
            self.listen(cx);
            let now = Instant::now();
            if let Some(event) = arrived(&mut self.events, now) {
                if matches!(event, LinkEvent::Down { .. }) {
                    // The core takes all that it has not yet heard of for unsent.
                    self.requests.clear();
                }
                return Poll::Ready(event);
            }
            let mut has_arrived = false;
            while let Some(request) = arrived(&mut self.requests, now) {
                self.link.send(request);
                has_arrived = true;
            }
            if has_arrived {
                continue;
            }
            let (request, event) = (self.requests.front(), self.events.front());
            let Some(next) = request.map(|(due, _)| *due).into_iter().chain(event.map(|(due, _)| *due)).min()
            else {
                return Poll::Pending;
            };
            if let Err(error) = ready!(self.poll_until(cx, next)) {
                // As without a file descriptor for a socket: nobody can be asked.
                tracing::debug!(%error, "no timer for a link");
                self.requests.clear();
                self.events.clear();
                return Poll::Ready(LinkEvent::Down { maybe_sent: true });
            }
        }
    }
}

/// The first that has come the whole way.
fn arrived<T>(queue: &mut VecDeque<(Instant, T)>, now: Instant) -> Option<T> {
    queue.front().filter(|(due, _)| *due <= now)?;
    queue.pop_front().map(|(_, item)| item)
}

impl<L: Link + fmt::Debug> fmt::Debug for Delayed<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delayed")
            .field("link", &self.link)
            .field("one_way", &self.one_way)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::future::poll_fn;

    const ONE_WAY: Duration = Duration::from_millis(20);

    /// Answers each request with itself; from the first 0 on its connection is gone.
    #[derive(Debug, Default)]
    struct Echo {
        answers: VecDeque<u32>,
        arrived: Vec<u32>,
        is_down: bool,
        maybe_sent: bool,
    }

    impl Link for Echo {
        type Request = u32;
        type Reply = u32;

        fn begin_command(&mut self) {
            self.maybe_sent = false;
        }

        fn send(&mut self, request: u32) {
            self.arrived.push(request);
            self.maybe_sent = true;
            self.is_down |= request == 0;
            self.answers.push_back(request);
        }

        fn poll(&mut self, _cx: &mut Context<'_>) -> Poll<LinkEvent<u32>> {
            if std::mem::take(&mut self.is_down) {
                self.answers.clear();
                return Poll::Ready(LinkEvent::Down { maybe_sent: self.maybe_sent });
            }
            self.answers.pop_front().map_or(Poll::Pending, |answer| Poll::Ready(LinkEvent::Reply(answer)))
        }
    }

    fn far_away() -> Delayed<Echo> {
        Delayed::new(Echo::default(), ONE_WAY)
    }

    #[tokio::test]
    async fn there_and_back_takes_twice_as_long_as_one_way_and_keeps_the_order() {
        let mut link = far_away();
        let begun = Instant::now();
        link.begin_command();
        (1..=3).for_each(|request| link.send(request));
        for expected in 1..=3 {
            let event = poll_fn(|cx| link.poll(cx)).await;
            assert!(matches!(event, LinkEvent::Reply(reply) if reply == expected), "{event:?}");
            assert!(begun.elapsed() >= 2 * ONE_WAY, "{:?}", begun.elapsed());
        }
        assert!(begun.elapsed() < 20 * ONE_WAY, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn what_is_on_its_way_when_the_connection_breaks_never_arrives() {
        let mut link = far_away();
        link.begin_command();
        link.send(0);
        link.send(1);
        let begun = Instant::now();
        // Half way back, the news is not here yet: a retry goes the way of all others.
        let mut has_retried = false;
        let event = poll_fn(|cx| {
            if begun.elapsed() > ONE_WAY && !has_retried {
                has_retried = true;
                link.send(2);
            }
            link.poll(cx)
        })
        .await;
        assert!(matches!(event, LinkEvent::Down { maybe_sent: true }), "{event:?}");
        assert!(begun.elapsed() >= 2 * ONE_WAY);
        link.begin_command();
        link.send(3);
        let event = poll_fn(|cx| link.poll(cx)).await;
        assert!(matches!(event, LinkEvent::Reply(3)), "{event:?}");
        assert!(!link.link.arrived.contains(&2), "{:?}", link.link.arrived);
    }
}
