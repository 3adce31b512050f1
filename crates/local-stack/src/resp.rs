//! Just enough of Redis's protocol to ask a server on loopback one thing.

use std::{io, pin::Pin, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::StackError;

/// Longest wait for one answer.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// What a server answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Text(String),
    Refusal(String),
    List(Vec<Reply>),
    Nothing,
}

impl Reply {
    /// The text or number, or nothing where it is neither.
    pub(crate) fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }

    /// The parts, none where it is no list.
    pub(crate) fn list(&self) -> &[Reply] {
        if let Self::List(parts) = self { parts } else { &[] }
    }
}

/// Sends one command over a connection of its own.
pub(crate) async fn call(port: u16, words: &[&str]) -> Result<Reply, StackError> {
    let answer = tokio::time::timeout(ANSWER_WAIT, exchange(port, words)).await;
    let what = || format!("Redis on port {port}, asked for {}", words.join(" "));
    match answer {
        Ok(Ok(Reply::Refusal(refusal))) => Err(StackError::Failed(format!("{}: {refusal}", what()))),
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(source)) => Err(StackError::Io { what: what(), source }),
        Err(_) => Err(StackError::Io { what: what(), source: io::ErrorKind::TimedOut.into() }),
    }
}

async fn exchange(port: u16, words: &[&str]) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut request = vec![format!("*{}\r\n", words.len())];
    request.extend(words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())));
    stream.write_all(request.concat().as_bytes()).await?;
    read(&mut BufReader::new(stream)).await
}

fn read(stream: &mut BufReader<TcpStream>) -> Pin<Box<dyn Future<Output = io::Result<Reply>> + Send + '_>> {
    Box::pin(async move {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.trim_end();
        let rest = line.get(1..).unwrap_or_default();
        Ok(match line.chars().next() {
            Some('+' | ':') => Reply::Text(rest.to_owned()),
            Some('-') => Reply::Refusal(rest.to_owned()),
            Some('$') => match length(rest)? {
                Some(length) => {
                    let mut bytes = vec![0_u8; length];
                    stream.read_exact(&mut bytes).await?;
                    stream.read_exact(&mut [0_u8; 2]).await?;
                    Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
                }
                None => Reply::Nothing,
            },
            Some('*') => match length(rest)? {
                Some(length) => {
                    let mut parts = vec![];
                    for _ in 0..length {
                        parts.push(read(stream).await?);
                    }
                    Reply::List(parts)
                }
                None => Reply::Nothing,
            },
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        })
    })
}

/// The length that a line states; none for -1, which stands for nothing.
fn length(text: &str) -> io::Result<Option<usize>> {
    let number: i64 = text.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(usize::try_from(number).ok())
}
