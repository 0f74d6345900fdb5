//! One client's connection: frames in, answers out in the order of their requests.
//!
//! One task does it all. A request is handled to its end before the next is begun, but for Produce: its
//! batches are appended at once, or on another thread if there is much to unpack, in order, and only the wait
//! for the disk is put off, so that the next one is appended while the disk works. One request is read ahead
//! of that, and with it the end of the connection is seen while a fetch or a join waits for long.
//!
//! ```text
//! socket -> frames -> dispatch -> pending: [ produce, waiting | produce, waiting | fetch ] -> socket
//! ```
//!
//! Invariants: answers leave in order. At most `PENDING_MAX` requests wait. What a peer sends can end
//! this connection and nothing else; why is said in one line of the log.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use flumen_protocol::RequestHead;
use futures::FutureExt;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::answer_pace::{AnswerPace, LOOK_INTERVAL};
use crate::broker::Broker;
use crate::ctx::Ctx;
use crate::dispatch::{self, Order, Pending};
use crate::endpoint::Endpoint;
use crate::frame_reader::{Frame, FrameReader};
use crate::quotas::Mute;
use crate::reply::Reply;
use crate::security::gate::{Gate, Refusal, UNKNOWN_BYTES_MAX, Verdict};
use crate::security::session::Session;
use crate::software::Software;
use crate::stream::Stream;

/// Requests whose answers are waited for; more are not read.
const PENDING_MAX: usize = 128;
/// How often a connection looks whether it has fallen silent.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// A request that has begun has to move on within this: it holds a share of the budget.
const REQUEST_STALL_MAX: Duration = Duration::from_secs(10);
/// Whoever has not said by then who they are, goes.
const UNKNOWN_MAX: Duration = Duration::from_secs(60);
/// How long the end of an encrypted connection may take.
const CLOSE_MAX: Duration = Duration::from_secs(1);
const SLICES_MAX: usize = 64;

/// Where a connection goes from and to.
pub(crate) struct Ends {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) endpoint: Arc<Endpoint>,
}

pub(crate) struct Connection<S> {
    socket: S,
    ends: Ends,
    gate: Gate,
    since: Instant,
    number: u64,
    broker: Broker,
    frames: FrameReader,
    /// Read, and to be begun when those before it allow.
    ahead: Option<Frame>,
    /// The peer will send no more.
    ended: bool,
    pending: VecDeque<Pending>,
    /// Over a quota: nothing is read, and nothing that was read is begun, but what holds of the budget.
    mute: Arc<Mute>,
    software: Arc<Software>,
    quiet: Quiet,
}

/// Since when nothing has come or gone.
struct Quiet {
    received: u64,
    since: Instant,
}

/// Why a connection ends, where it is worth a line in the log.
type Ended = Result<(), String>;

impl<S: Stream> Connection<S> {
    /// `session`: whom the certificate names, or nobody.
    pub(crate) fn new(socket: S, ends: Ends, session: Session, broker: Broker) -> Connection<S> {
        let frames = FrameReader::new(broker.budget().clone(), broker.options().request_bytes_max);
        let since = Instant::now();
        let gate = Gate::new(ends.endpoint.protocol.has_sasl(), session);
        let quiet = Quiet { received: 0, since };
        let mut new = Connection {
            socket,
            ends,
            gate,
            since,
            number: broker.new_connection(),
            broker,
            frames,
            ahead: None,
            ended: false,
            pending: VecDeque::new(),
            mute: Arc::default(),
            software: Arc::default(),
            quiet,
        };
        if new.ends.endpoint.protocol.has_sasl() {
            new.expect();
        }
        new
    }

    /// Serves until the peer leaves, misbehaves or falls silent, or until the broker stops.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let (peer, broker) = (self.ends.peer, self.broker.clone());
        let ended = self.serve(stop).await;
        broker.share().disconnected(self.number);
        broker.telemetry().disconnected(self.number);
        if S::ENCRYPTED {
            let _ = timeout(CLOSE_MAX, self.socket.shutdown()).await;
        }
        match ended {
            Ok(()) => tracing::debug!(%peer, "connection ended"),
            Err(reason) => match broker.complaints().of(peer.ip(), Instant::now()) {
                Some(0) => tracing::warn!(%peer, reason, "closed a connection"),
                Some(unsaid) => {
                    tracing::warn!(%peer, reason, unsaid, "closed a connection, and others of this peer")
                }
                None => tracing::debug!(%peer, reason, "closed a connection"),
            },
        }
    }

    async fn serve(&mut self, stop: CancellationToken) -> Ended {
        let mut check = interval(CHECK_INTERVAL);
        check.reset();
        loop {
            // What holds of the budget is read and begun all the same: others wait for that.
            let muted = self.mute.until().filter(|_| !self.holds_budget());
            if muted.is_none()
                && self.may_begin()
                && let Some(frame) = self.ahead.take()
            {
                self.begin(frame)?;
                continue;
            }
            if self.ended && !self.pending.iter().any(|pending| pending.order.is_done_to_its_end()) {
                return Ok(());
            }
            let may_read = muted.is_none() && self.ahead.is_none() && !self.ended;
            tokio::select! {
                biased;
                reply = first(&mut self.pending), if !self.pending.is_empty() => {
                    self.pending.pop_front();
                    self.answer(reply).await?;
                }
                () = stop.cancelled() => return self.finish().await,
                frame = self.frames.next(&mut self.socket), if may_read => match frame {
                    Ok(Some(frame)) => self.ahead = Some(frame),
                    Ok(None) => self.ended = true,
                    Err(error) if is_ordinary(&error) => self.ended = true,
                    Err(error) => return Err(error.to_string()),
                },
                () = sleep_until(muted.unwrap_or(self.since)), if muted.is_some() => {}
                _ = check.tick() => self.check_silence()?,
            }
        }
    }

    fn holds_budget(&self) -> bool {
        self.frames.holds_budget() || self.ahead.as_ref().is_some_and(|ahead| !ahead.held.is_nothing())
    }

    fn may_begin(&self) -> bool {
        // The answer of what is being appended is pending behind it.
        let held = self.pending.iter().rev().take(2).any(|last| last.order != Order::Pipelined);
        !held && self.pending.len() < PENDING_MAX
    }

    fn begin(&mut self, frame: Frame) -> Ended {
        if self.gate.takes_tokens() {
            let answer = self.gate.token(&frame.bytes, self.broker.security());
            self.passed(answer);
            return Ok(());
        }
        let request_bytes = frame.bytes.len();
        let (head, body) =
            RequestHead::split(frame.bytes).map_err(|error| format!("a request's header: {error}"))?;
        match self.gate.request(&head, &body, self.broker.security()) {
            Ok(Verdict::Serve) => {}
            Ok(Verdict::Answer(answer)) => {
                self.passed(Ok(answer));
                return Ok(());
            }
            Err(refusal) => {
                self.passed(Err(refusal));
                return Ok(());
            }
        }
        let ctx = Ctx {
            broker: self.broker.clone(),
            connection: self.number,
            peer: self.ends.peer,
            local: self.ends.local,
            endpoint: self.ends.endpoint.clone(),
            session: self.gate.session().clone(),
            client_id: head.client_id.clone(),
            software: self.software.clone(),
            request_bytes,
            mute: self.mute.clone(),
        };
        let begun = dispatch::begin(ctx, head, body, frame.held)?;
        self.pending.extend(begun.appending);
        self.pending.push_back(begun.answer);
        Ok(())
    }

    /// What the gate has answered. A refusal waits before it is told, and is the last answer.
    fn passed(&mut self, answer: Result<Reply, Refusal>) {
        let reply = match answer {
            Ok(reply) => std::future::ready(reply).boxed(),
            Err(Refusal { answer, reason }) => {
                let wait = self.broker.security().failed(self.ends.peer.ip());
                let last = match answer {
                    Some(frame) => Reply::Last(frame, reason),
                    None => Reply::Close(reason),
                };
                sleep(wait).map(|()| last).boxed()
            }
        };
        self.pending.push_back(Pending { reply, order: Order::Alone });
        self.expect();
    }

    /// Little is read of somebody who is not known yet.
    fn expect(&mut self) {
        let bytes_max = self.broker.options().request_bytes_max;
        let known = self.gate.is_through();
        let bytes_max = if known { bytes_max } else { bytes_max.min(UNKNOWN_BYTES_MAX) };
        self.frames.expect(bytes_max, self.gate.takes_tokens());
    }

    /// Writes an answer, and with it those behind it that are ready too.
    async fn answer(&mut self, first: Reply) -> Ended {
        let mut pieces = VecDeque::new();
        // Given back when it is written.
        let mut shares = Vec::new();
        let mut reply = first;
        loop {
            match reply {
                Reply::Frame(frame) => pieces.extend(frame),
                Reply::Held(frame, held) => {
                    pieces.extend(frame);
                    shares.extend(held);
                }
                Reply::Nothing => {}
                Reply::Close(reason) => {
                    self.write(pieces, !shares.is_empty()).await?;
                    return Err(reason);
                }
                Reply::Last(frame, reason) => {
                    pieces.push_back(frame);
                    self.write(pieces, !shares.is_empty()).await?;
                    return Err(reason);
                }
            }
            let Some(ready) = self.pending.front_mut().and_then(|next| (&mut next.reply).now_or_never())
            else {
                break;
            };
            self.pending.pop_front();
            reply = ready;
        }
        self.write(pieces, !shares.is_empty()).await
    }

    /// `holds`: something of the budget of answers.
    async fn write(&mut self, mut pieces: VecDeque<Bytes>, holds: bool) -> Ended {
        let mut now = Instant::now();
        self.quiet.since = now;
        let mut pace = AnswerPace::new(pieces.iter().map(Bytes::len).sum(), now);
        let is_wanted = || holds && self.broker.answers().is_waited_for();
        while !pieces.is_empty() {
            pace.judge(is_wanted(), now)?;
            let slices: Vec<_> = pieces.iter().take(SLICES_MAX).map(|piece| IoSlice::new(piece)).collect();
            let written = match self.socket.try_write(&slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    timeout(LOOK_INTERVAL, self.socket.write_vectored(&slices)).await.ok()
                }
                written => Some(written),
            };
            now = Instant::now();
            match written {
                Some(Ok(0) | Err(_)) => return Err("the peer left before it had its answer".into()),
                Some(Ok(written)) => {
                    pace.took(written, now);
                    consume(&mut pieces, written);
                }
                None => {}
            }
        }
        if S::ENCRYPTED {
            let mut flush = pin!(self.socket.flush());
            loop {
                match timeout(LOOK_INTERVAL, &mut flush).await {
                    Ok(Ok(())) => break,
                    Ok(Err(_)) => return Err("the peer left before it had its answer".into()),
                    Err(_) => pace.judge(is_wanted(), Instant::now())?,
                }
            }
        }
        Ok(())
    }

    /// The broker stops: what was acknowledged by the disk is still told, within the drain time.
    async fn finish(&mut self) -> Ended {
        let is_produce = |next: &Pending| matches!(next.order, Order::Pipelined | Order::Appending);
        while self.pending.front().is_some_and(is_produce) {
            let reply = first(&mut self.pending).await;
            self.pending.pop_front();
            self.answer(reply).await?;
        }
        Ok(())
    }

    fn check_silence(&mut self) -> Ended {
        if !self.gate.is_through() && self.since.elapsed() > UNKNOWN_MAX {
            return Err("the peer did not say who it is".into());
        }
        if self.frames.is_overdue(Instant::now()) {
            return Err("the peer sends a request too slowly".into());
        }
        let ours = !self.pending.is_empty() || self.mute.until().is_some() || self.frames.waits_for_budget();
        if ours || self.frames.received() != self.quiet.received {
            self.quiet = Quiet { received: self.frames.received(), since: Instant::now() };
            return Ok(());
        }
        let silent = self.quiet.since.elapsed();
        if self.frames.is_inside_frame() && silent > REQUEST_STALL_MAX {
            return Err("the peer stopped inside a request".into());
        }
        if silent > self.broker.options().idle_max {
            return Err("the peer was silent for too long".into());
        }
        self.frames.shrink();
        Ok(())
    }
}

/// The oldest answer; the others behind it wait for it.
async fn first(pending: &mut VecDeque<Pending>) -> Reply {
    poll_fn(|cx| match pending.front_mut() {
        Some(next) => next.reply.as_mut().poll(cx),
        None => std::task::Poll::Pending,
    })
    .await
}

fn consume(pieces: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(front) = pieces.front_mut() {
        if written < front.len() {
            front.advance(written);
            return;
        }
        written -= front.len();
        pieces.pop_front();
    }
}

/// Clients leave without a word all the time; that is no news.
fn is_ordinary(error: &crate::frame_reader::FrameError) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    match error {
        crate::frame_reader::FrameError::Io(error) => {
            matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe)
        }
        _ => false,
    }
}
