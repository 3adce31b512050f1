//! A bound on the phases of a connection that the framework leaves without one.
//!
//! The framework bounds the first head of a connection and the silence between two requests. A later head that never
//! ends, a body that nobody reads to its end, and an answer that is taken byte by byte have no deadline there. So each
//! connection is remembered with the time when its last request ended, and one on which nothing has been under way for
//! [`FORGOTTEN`] is shut down.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    HttpMessage,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, ServiceRequest},
    error::PayloadError,
    rt::net::TcpStream,
};
use bytes::Bytes;
use futures_util::Stream;
use socket2::{SockRef, Socket};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Longest time that a connection may stay without a request under way; longer than keep-alive.
const FORGOTTEN: Duration = Duration::from_mins(3);
/// How often each worker looks for such connections.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

thread_local! {
    /// The connections of this worker, once it has had one.
    static OPEN: RefCell<Option<Vec<Weak<Connection>>>> = const { RefCell::new(None) };
}

/// A connection of this worker.
pub(crate) struct Connection {
    /// A second handle, which costs an open file; given up when nothing comes after the stream that is under way.
    socket: RefCell<Option<Socket>>,
    under_way: Cell<usize>,
    idle_since: Cell<Instant>,
}

impl Connection {
    /// Remembers a connection for as long as the framework has it.
    pub(crate) fn watch(tcp: &TcpStream) -> std::io::Result<Rc<Self>> {
        let socket = SockRef::from(tcp).try_clone()?;
        let socket = RefCell::new(Some(socket));
        let connection = Rc::new(Self { socket, under_way: Cell::new(0), idle_since: Cell::new(Instant::now()) });
        OPEN.with_borrow_mut(|open| {
            let open = open.get_or_insert_with(|| {
                actix_web::rt::spawn(sweep());
                Vec::new()
            });
            open.push(Rc::downgrade(&connection));
        });
        Ok(connection)
    }

    /// Watches no longer: the connection ends with the answer that is under way, and what is sent on it stays unread for so
    /// long at most.
    pub(crate) fn ends_with_its_answer(&self) {
        self.socket.take();
    }

    fn is_worth_keeping(&self) -> bool {
        let socket = self.socket.borrow();
        let Some(socket) = socket.as_ref() else { return false };
        let keep = self.under_way.get() > 0 || self.idle_since.get().elapsed() < FORGOTTEN;
        if !keep {
            drop(socket.shutdown(std::net::Shutdown::Both));
        }
        keep
    }
}

async fn sweep() {
    let mut beat = interval(SWEEP_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        OPEN.with_borrow_mut(|open| {
            if let Some(open) = open {
                open.retain(|connection| connection.upgrade().is_some_and(|connection| connection.is_worth_keeping()));
            }
        });
    }
}

/// Marks an answer that streams a list and ends: unlike a stream of events it gets no longer than [`FORGOTTEN`].
pub(crate) struct EndsInTime;

/// A request, or a stream that answers it, is under way on a connection.
pub(crate) struct UnderWay(Rc<Connection>);

impl UnderWay {
    pub(crate) fn on(connection: &Rc<Connection>) -> Self {
        connection.under_way.set(connection.under_way.get() + 1);
        Self(Rc::clone(connection))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get().saturating_sub(1));
        self.0.idle_since.set(Instant::now());
    }
}

/// A body that handlers may read, and that is not dropped before the answer has been sent: the framework would go on
/// reading what is left of a chunked body for ever.
#[derive(Clone)]
pub(crate) struct Rest(Rc<RefCell<Payload>>);

impl Rest {
    /// Of a request with a chunked body; others end by their length.
    pub(crate) fn of(request: &mut ServiceRequest) -> Option<Self> {
        request.chunked().unwrap_or(false).then(|| {
            let rest = Self(Rc::new(RefCell::new(request.take_payload())));
            request.set_payload(Payload::Stream { payload: Box::pin(rest.clone()) });
            rest
        })
    }
}

impl Stream for Rest {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}

/// An answer with what must live until it has been sent.
pub(crate) struct Keeping {
    body: BoxBody,
    _rest: Option<Rest>,
    _under_way: Option<UnderWay>,
}

impl Keeping {
    pub(crate) fn around(body: BoxBody, rest: Option<Rest>, under_way: Option<UnderWay>) -> BoxBody {
        // What is sent from memory needs no company.
        let streams = body.size() == BodySize::Stream;
        match (rest, under_way.filter(|_| streams)) {
            (None, None) => body,
            (rest, under_way) => BoxBody::new(Self { body, _rest: rest, _under_way: under_way }),
        }
    }
}

impl MessageBody for Keeping {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
