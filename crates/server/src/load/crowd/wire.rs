//! HTTP/1.1 as bytes: what is sent, the head of an answer, bodies in chunks.

use std::time::Duration;

/// Most headers of an answer; the server sends about ten.
const MOST_HEADERS: usize = 48;

/// A chunk ends with a line's end.
const LINE_END: usize = 2;

/// What came cannot be read as an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// A request of somebody who is signed in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    /// Access token.
    pub(super) access: &'a str,
    /// Besides those that every request has.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// JSON.
    pub(super) body: Option<&'a str>,
}

impl Request<'_> {
    pub(super) fn write(&self, host: &str, out: &mut Vec<u8>) {
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        put(&[self.method, " ", self.path, " HTTP/1.1\r\nhost: ", host, "\r\nauthorization: Bearer ", self.access]);
        for (name, value) in self.headers {
            put(&["\r\n", name, ": ", value]);
        }
        match self.body {
            Some(body) => {
                let length = body.len().to_string();
                put(&["\r\ncontent-type: application/json\r\ncontent-length: ", &length, "\r\n\r\n", body]);
            }
            None if self.method == "POST" => put(&["\r\ncontent-length: 0\r\n\r\n"]),
            None => put(&["\r\n\r\n"]),
        }
    }
}

/// Where the body of an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// After so many bytes.
    Length(usize),
    /// With the last chunk.
    Chunks,
    /// With the connection.
    UntilClosed,
}

/// The head of an answer, as far as fans look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the head itself.
    pub(super) bytes: usize,
    pub(super) status: u16,
    pub(super) body: Body,
    pub(super) retry_after: Option<Duration>,
    pub(super) etag: Option<String>,
    pub(super) seats_version: Option<i64>,
    /// Whether nothing more comes on this connection.
    pub(super) closes: bool,
}

impl Head {
    /// Reads it once all of it is there.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, Unreadable> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = answer.parse(bytes).map_err(|_| Unreadable)? else { return Ok(None) };
        let status = answer.code.ok_or(Unreadable)?;
        let mut head = Self {
            bytes: length,
            status,
            // Neither has a body, whatever the headers say.
            body: if matches!(status, 204 | 304) { Body::Length(0) } else { Body::UntilClosed },
            retry_after: None,
            etag: None,
            seats_version: None,
            closes: false,
        };
        for header in answer.headers.iter() {
            let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("content-length") && head.body == Body::UntilClosed {
                head.body = Body::Length(value.parse().map_err(|_| Unreadable)?);
            } else if is("transfer-encoding") && value.eq_ignore_ascii_case("chunked") && head.body != Body::Length(0) {
                head.body = Body::Chunks;
            } else if is("connection") {
                head.closes = value.eq_ignore_ascii_case("close");
            } else if is("retry-after") {
                head.retry_after = value.parse().ok().map(Duration::from_secs);
            } else if is("etag") {
                head.etag = Some(value.to_owned());
            } else if is("seats-version") {
                head.seats_version = value.parse().ok();
            }
        }
        head.closes |= head.body == Body::UntilClosed;
        Ok(Some(head))
    }
}

/// Takes a body out of its chunks, however they are cut by the network.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// Bytes that are missing of this chunk.
    missing: usize,
    /// Bytes of the line's end behind it that are missing.
    gap: usize,
    last: bool,
    /// Whether the last one was there.
    pub(super) ended: bool,
}

impl Chunks {
    /// Moves what is there of the body from `input` to `body`. What is left in `input` is of no use without more.
    pub(super) fn take(&mut self, input: &mut Vec<u8>, body: &mut Vec<u8>) -> Result<(), Unreadable> {
        let mut rest = input.as_slice();
        while !self.ended && !rest.is_empty() {
            if self.missing > 0 {
                let (part, behind) = rest.split_at(self.missing.min(rest.len()));
                body.extend_from_slice(part);
                self.missing -= part.len();
                rest = behind;
            } else if self.gap > 0 {
                let skip = self.gap.min(rest.len());
                self.gap -= skip;
                self.ended = self.last && self.gap == 0;
                rest = rest.get(skip..).unwrap_or_default();
            } else {
                match httparse::parse_chunk_size(rest).map_err(|_| Unreadable)? {
                    httparse::Status::Partial => break,
                    httparse::Status::Complete((line, size)) => {
                        self.missing = usize::try_from(size).map_err(|_| Unreadable)?;
                        (self.gap, self.last) = (LINE_END, size == 0);
                        rest = rest.get(line..).unwrap_or_default();
                    }
                }
            }
        }
        let taken = input.len() - rest.len();
        input.drain(..taken);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        Head::read(text.as_bytes()).expect("readable").expect("complete")
    }

    #[test]
    fn a_request_has_what_the_server_needs() {
        let written = |request: Request<'_>| {
            let mut out = vec![];
            request.write("host:8080", &mut out);
            String::from_utf8(out).expect("text")
        };
        let headers = [("queue-token", "q1"), ("idempotency-key", "k")];
        let get = Request { method: "GET", path: "/a", access: "t", headers: &headers, body: None };
        assert_eq!(
            written(get),
            "GET /a HTTP/1.1\r\nhost: host:8080\r\nauthorization: Bearer t\r\nqueue-token: q1\r\nidempotency-key: k\r\n\r\n"
        );
        let join = Request { method: "POST", headers: &[], ..get };
        assert!(written(join).ends_with("Bearer t\r\ncontent-length: 0\r\n\r\n"));
        let reserve = Request { body: Some("{}"), ..join };
        assert!(written(reserve).ends_with("t\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"));
    }

    #[test]
    fn a_head_is_read_once_it_is_complete() {
        let text = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 12\r\nRetry-After: 3\r\nx-request-id: 7\r\n\r\n{\"code\":\"x\"}";
        let end = text.find('{').expect("a body");
        for cut in 0..end {
            assert_eq!(Head::read(&text.as_bytes()[..cut]), Ok(None), "{cut} bytes are no head");
        }
        let read = head(text);
        assert_eq!((read.bytes, read.status, read.body), (end, 429, Body::Length(12)));
        assert_eq!((read.retry_after, read.closes), (Some(Duration::from_secs(3)), false));
        let seats =
            head("HTTP/1.1 200 OK\r\ncontent-length: 0\r\netag: W/\"5f\"\r\nSeats-Version: 1803897662000123\r\n\r\n");
        assert_eq!((seats.etag.as_deref(), seats.seats_version), (Some("W/\"5f\""), Some(1_803_897_662_000_123)));
        assert_eq!(Head::read(b"not http at all\r\n\r\n"), Err(Unreadable));
        assert_eq!(Head::read(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"), Err(Unreadable));
    }

    #[test]
    fn it_says_where_the_body_ends() {
        let body = |head_lines: &str| head(&format!("HTTP/1.1 {head_lines}\r\n\r\n"));
        assert_eq!(body("204 No Content").body, Body::Length(0));
        assert_eq!(body("304 Not Modified\r\ncontent-length: 5000").body, Body::Length(0));
        let stream = body("200 OK\r\ntransfer-encoding: chunked\r\nconnection: close");
        assert_eq!((stream.body, stream.closes), (Body::Chunks, true));
        let old = body("200 OK\r\nx: y");
        assert_eq!((old.body, old.closes), (Body::UntilClosed, true));
        assert!(!body("200 OK\r\ncontent-length: 1").closes);
    }

    #[test]
    fn a_body_comes_out_of_its_chunks_however_they_are_cut() {
        let sent = b"5\r\nhello\r\n1\r\n \r\nb;ext=1\r\nbig world, 1\r\n0\r\n\r\nnext";
        let sent = [&sent[..16], b"b\r\nbig world,1\r\n0\r\n\r\nnext"].concat();
        for step in 1..sent.len() {
            let (mut chunks, mut input, mut body) = (Chunks::default(), vec![], vec![]);
            for part in sent.chunks(step) {
                input.extend_from_slice(part);
                chunks.take(&mut input, &mut body).expect("readable");
            }
            assert_eq!(String::from_utf8_lossy(&body), "hello big world,1", "in parts of {step}");
            assert!(chunks.ended && input == b"next", "what comes behind it is left alone");
        }
        assert_eq!(Chunks::default().take(&mut b"xyz\r\n".to_vec(), &mut vec![]), Err(Unreadable));
    }
}
