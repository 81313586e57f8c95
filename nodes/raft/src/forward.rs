//! Writes that reach a follower (`Routing::Here`): passed on to the leader, answered through the follower.
//!
//! Nothing is sent twice by the follower, but the network may deliver twice: of two copies the leader may have taken
//! one and refused the other. So a refusal that is to say "this had no effect" cannot be passed on as that.

use crate::ids::Ticket;
use crate::message::{ForwardAnswer, Forwarded, Message};
use crate::metrics::DropReason;
use crate::replica::Raft;
use crate::write::Waiter;
use kv::{Refusal, Reply, Response};
use protocol::{ClientId, Effects, ReplicaId, RequestId, Time, reached};
use std::collections::BTreeMap;

/// More than a forwarded write's own fields and the tags of its command take.
const OVERHEAD_BYTES: usize = 64;
/// The most answers in one message.
const ANSWERS_MAX: usize = 4096;

/// What a follower has passed on, and what a leader owes followers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forwards {
    /// To be passed on when the turn ends.
    queued: Vec<(Asker, Forwarded)>,
    /// Passed on; not answered.
    open: BTreeMap<Ticket, Open>,
    /// To be sent when the turn ends.
    answers: BTreeMap<ReplicaId, Vec<ForwardAnswer>>,
}

/// Which request of which client.
#[derive(Clone, Copy, Debug)]
struct Asker {
    client: ClientId,
    id: RequestId,
}

#[derive(Clone, Debug)]
struct Open {
    asker: Asker,
    to: ReplicaId,
    since: Time,
}

impl Forwards {
    /// How many requests wait.
    pub(crate) fn len(&self) -> usize {
        self.queued.len() + self.open.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn forget_client(&mut self, client: ClientId) {
        self.queued.retain(|(asker, _)| asker.client != client);
        self.open.retain(|_, open| open.asker.client != client);
    }

    /// A leader's answer to a write that `to` has passed on, to be sent when the turn ends.
    pub(crate) fn owe(&mut self, to: ReplicaId, ticket: Ticket, result: Result<Response, Refusal>) {
        self.answers.entry(to).or_default().push(ForwardAnswer { ticket, result });
    }

    /// Sends what is owed. In the early lane, like answers to clients: they tell of committed entries.
    pub(crate) fn send_answers(&mut self, out: &mut Effects<Raft>) {
        for (&to, answers) in &mut self.answers {
            // One answer with values in it may fill a frame (`kv::command::ANSWER_BYTES_MAX` is half of one).
            let size = |answer: &ForwardAnswer| if is_small(&answer.result) { 1 } else { ANSWERS_MAX };
            for batch in batches(std::mem::take(answers), ANSWERS_MAX, size) {
                out.early.messages.push((to, Message::ForwardReply(batch)));
            }
        }
    }
}

impl Raft {
    /// Passes a client's write on when the turn ends.
    pub(crate) fn forward(
        &mut self,
        now: Time,
        request: kv::Request,
        client: ClientId,
        out: &mut Effects<Self>,
    ) {
        let refusal = if self.leader.is_none() {
            Some(Refusal::NotLeader { leader: None })
        } else if self.is_full() {
            self.metrics.requests_refused_busy += 1;
            Some(Refusal::Busy)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return out.early.replies.push((client, Reply { id: request.id, result: Err(refusal) }));
        }
        let kv::Request { id, session, sequence, command, .. } = request;
        let ticket = self.tickets.draw();
        self.forwards.queued.push((Asker { client, id }, Forwarded { ticket, session, sequence, command }));
        self.arm_patience(now, out);
    }

    /// Sends what was queued in this turn, all together.
    pub(crate) fn send_forwards(&mut self, now: Time, out: &mut Effects<Self>) {
        if self.forwards.queued.is_empty() {
            return;
        }
        let queued = std::mem::take(&mut self.forwards.queued);
        if self.is_leader() {
            for (Asker { client, id }, write) in queued {
                let Forwarded { session, sequence, command, .. } = write;
                self.propose(now, Waiter::Client { client, id }, session, sequence, command, out);
            }
            return;
        }
        let Some(leader) = self.leader else {
            for (asker, _) in queued {
                answer(asker, Err(Refusal::NotLeader { leader: None }), out);
            }
            return;
        };
        self.metrics.requests_forwarded += queued.len() as u64;
        let mut writes = Vec::with_capacity(queued.len());
        for (asker, write) in queued {
            self.forwards.open.insert(write.ticket, Open { asker, to: leader, since: now });
            writes.push(write);
        }
        let size = |write: &Forwarded| OVERHEAD_BYTES + write.command.encoded_bytes_max();
        for batch in batches(writes, self.options.batch_bytes_max, size) {
            out.early.messages.push((leader, Message::Forward(batch)));
        }
    }

    /// A follower passes on what its clients ask.
    pub(crate) fn handle_forward(
        &mut self,
        now: Time,
        from: ReplicaId,
        writes: Vec<Forwarded>,
        out: &mut Effects<Self>,
    ) {
        for Forwarded { ticket, session, sequence, command } in writes {
            if let Err(refusal) = command.validate() {
                self.metrics.drop(DropReason::Malformed);
                self.forwards.owe(from, ticket, Err(refusal));
            } else if self.is_leader() {
                self.propose(
                    now,
                    Waiter::Follower { replica: from, ticket },
                    session,
                    sequence,
                    command,
                    out,
                );
            } else {
                self.forwards.owe(from, ticket, Err(Refusal::NotLeader { leader: self.leader }));
            }
        }
    }

    /// The leader has answered.
    pub(crate) fn handle_forward_reply(&mut self, answers: Vec<ForwardAnswer>, out: &mut Effects<Self>) {
        for ForwardAnswer { ticket, result } in answers {
            let Some(open) = self.forwards.open.remove(&ticket) else {
                self.metrics.drop(DropReason::Stale);
                continue;
            };
            let result = match result {
                Err(refusal @ (Refusal::NotLeader { .. } | Refusal::Busy)) => {
                    reached!("a forwarded write is refused, and so uncertain");
                    Err(Refusal::Uncertain(format!("passed on to {}: {refusal}", open.to)))
                }
                result => result,
            };
            answer(open.asker, result, out);
        }
    }

    /// Whoever was asked before does not lead any more, so it may never answer. What it was asked may
    /// have been appended, and may yet be committed.
    pub(crate) fn give_up_forwards(&mut self, leader: ReplicaId, out: &mut Effects<Self>) {
        self.forwards.open.retain(|_, open| {
            let keep = open.to == leader;
            if !keep {
                reached!("a forwarded write outlives its leader");
                let reason = format!("passed on to {}, which does not lead any more", open.to);
                answer(open.asker, Err(Refusal::Uncertain(reason)), out);
            }
            keep
        });
    }

    /// Gives up on what was passed on too long ago.
    pub(crate) fn expire_forwards(&mut self, now: Time, out: &mut Effects<Self>) {
        // Tickets are drawn in order, so the oldest come first.
        while let Some(entry) = self.forwards.open.first_entry()
            && entry.get().since + self.timing.patience <= now
        {
            reached!("a forwarded write is given up");
            let open = entry.remove();
            let reason = format!("passed on to {}, which does not answer", open.to);
            answer(open.asker, Err(Refusal::Uncertain(reason)), out);
        }
    }
}

fn answer(asker: Asker, result: Result<Response, Refusal>, out: &mut Effects<Raft>) {
    out.early.replies.push((asker.client, Reply { id: asker.id, result }));
}

/// Splits `items` into runs of at most `size_max`, but of at least one item.
fn batches<T>(items: Vec<T>, size_max: usize, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut batches: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for item in items {
        let size = size(&item);
        match batches.last_mut() {
            Some(batch) if size <= room => {
                room -= size;
                batch.push(item);
            }
            _ => {
                room = size_max.saturating_sub(size);
                batches.push(vec![item]);
            }
        }
    }
    batches
}

/// Whether an answer has no values in it.
fn is_small(result: &Result<Response, Refusal>) -> bool {
    match result {
        Ok(Response::Value(_) | Response::Rows(_) | Response::Txn(_)) => false,
        Ok(
            Response::Done
            | Response::Swapped(_)
            | Response::Deleted(_)
            | Response::Length(_)
            | Response::WrongType
            | Response::OutOfRange
            | Response::TooLarge,
        )
        | Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_the_order_and_are_bounded() {
        assert_eq!(batches(vec![10, 20, 300, 5], 30, |&n| n), [vec![10, 20], vec![300], vec![5]]);
        assert!(batches(Vec::<usize>::new(), 1, |&n| n).is_empty());
    }

    #[test]
    fn answers_with_values_travel_alone() {
        let mut forwards = Forwards::default();
        for (ticket, response) in [Response::Done, Response::Done, Response::Txn(Vec::new()), Response::Done]
            .into_iter()
            .enumerate()
        {
            forwards.owe(ReplicaId(2), Ticket(ticket as u64), Ok(response));
        }
        let mut out = Effects::new(protocol::JournalPosition(0));
        forwards.send_answers(&mut out);
        let lengths: Vec<usize> = out
            .early
            .messages
            .iter()
            .map(|(_, message)| {
                let Message::ForwardReply(answers) = message else { panic!("{message}") };
                answers.len()
            })
            .collect();
        assert_eq!(lengths, [2, 1, 1]);
        assert!(forwards.answers[&ReplicaId(2)].is_empty());
    }
}
