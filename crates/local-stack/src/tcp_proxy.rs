//! A wire that can be cut without either end noticing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::{StackError, io};

/// Passes on connections to a port on loopback. Dropping it closes them.
pub(crate) struct TcpProxy {
    pub(crate) port: u16,
    cut: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

impl TcpProxy {
    pub(crate) async fn start(to: u16) -> Result<Self, StackError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(io("cannot find a free port"))?;
        let port = listener.local_addr().map_err(io("cannot find a free port"))?.port();
        let cut = Arc::new(AtomicBool::new(false));
        let accepting = tokio::spawn(accept(listener, to, cut.clone()));
        Ok(Self { port, cut, accepting })
    }

    /// From here on nothing that is sent arrives, and every connection stays open, also when the far end is gone.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, to: u16, cut: Arc<AtomicBool>) {
    // Ends the connections when this task ends.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((near, _)) => drop(connections.spawn(connect(near, to, cut.clone()))),
            Err(error) => {
                tracing::warn!(%error, "the wire takes no connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connect(mut near: TcpStream, to: u16, cut: Arc<AtomicBool>) {
    let is_cut = || cut.load(Ordering::SeqCst);
    if !is_cut() {
        let Ok(mut far) = TcpStream::connect(("127.0.0.1", to)).await else { return };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let (mut near_read, mut near_write) = near.split();
        let (mut far_read, mut far_write) = far.split();
        tokio::select! {
            () = pass(&mut far_read, &mut near_write, &cut) => {}
            () = pass(&mut near_read, &mut far_write, &cut) => {}
        }
    }
    if is_cut() {
        // The near end must not see that the far end is gone.
        drop(tokio::io::copy(&mut near, &mut tokio::io::sink()).await);
    }
}

/// Passes bytes on until one end closes; swallows them while the wire is cut.
async fn pass(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), cut: &AtomicBool) {
    let mut buffer = vec![0_u8; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..length) else { return };
        if !cut.load(Ordering::SeqCst) && to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
