//! A connection: how long its client may take to take an answer, and how it is closed so that the client gets the answer.
//!
//! Who is refused is often still sending the code. A socket that is closed then, or while something lies in it unread,
//! tells the client that the connection was reset, and with that the client may lose the answer which came before
//! (RFC 9112, section 9.6). So only our direction is closed at first, and what still comes is thrown away until the
//! client has closed its own.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// What a client takes of an answer before it gets further time for the rest, in bytes.
const PROGRESS: usize = 64 << 10;

/// A connection that is shut down once its client has closed it, too, or its patience is over.
pub(crate) struct Connection {
    stream: Arc<TcpStream>,
    patience: Duration,
    /// The end of its patience with writes that the client does not take, and what it took since.
    stuck: Option<Pin<Box<Sleep>>>,
    taken: usize,
    /// The end of its patience once our direction is closed.
    end: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    pub(crate) fn new(stream: Arc<TcpStream>, patience: Duration) -> Self {
        Self { stream, patience, stuck: None, taken: 0, end: None }
    }

    /// Tries to write by `write` until it could, or the client has not taken enough for too long.
    fn poll_writing(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> Result<usize>,
    ) -> Poll<Result<usize>> {
        loop {
            match write(&self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(written) => {
                    self.taken += written;
                    if self.taken >= PROGRESS {
                        (self.taken, self.stuck) = (0, None);
                    }
                    return Poll::Ready(Ok(written));
                }
                error => return Poll::Ready(error),
            }
            let patience = self.patience;
            let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            if stuck.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
            ready!(self.stream.poll_write_ready(cx))?;
        }
    }
}

/// Waits until a connection is broken. A client that has only closed its own direction still waits for its answer.
pub(crate) async fn broken(stream: &TcpStream) {
    // An error of the call means that nothing is known of the connection, and so that it is not known to be broken.
    if stream.ready(Interest::ERROR).await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.poll_writing(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.poll_writing(cx, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { stream, patience, end, .. } = &mut *self;
        let end = match end {
            Some(end) => end,
            None => {
                rustix::net::shutdown(&**stream, rustix::net::Shutdown::Write).map_err(Error::from)?;
                end.insert(Box::pin(tokio::time::sleep_until(Instant::now() + *patience)))
            }
        };
        let mut scratch = [0; 4 << 10];
        loop {
            if end.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read(&mut scratch) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return Poll::Ready(Ok(())),
                Ok(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Both ends of a connection, ours with this patience.
    async fn pair(patience: Duration) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (Connection::new(Arc::new(stream), patience), client)
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut connection, client) = pair(Duration::from_millis(100)).await;
        // More than the buffers of both ends hold.
        let error = connection.write_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(client);
    }

    #[tokio::test]
    async fn a_client_that_takes_some_has_more_time() {
        let (mut connection, mut client) = pair(Duration::from_secs(20)).await;
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.map(|_| all.len())
        });
        connection.write_all(&vec![0; 32 << 20]).await.unwrap();
        connection.shutdown().await.unwrap();
        drop(connection);
        assert_eq!(reading.await.unwrap().unwrap(), 32 << 20);
    }

    #[tokio::test]
    async fn what_still_comes_after_the_end_is_thrown_away() {
        let (mut connection, mut client) = pair(Duration::from_secs(20)).await;
        connection.write_all(b"answer").await.unwrap();
        let shutting = tokio::spawn(async move { connection.shutdown().await });
        client.write_all(&vec![0; 8 << 20]).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
        drop(client);
        shutting.await.unwrap().unwrap();
        // Who does not close its side is not waited for without end.
        let (mut connection, client) = pair(Duration::from_millis(50)).await;
        connection.shutdown().await.unwrap();
        drop(client);
    }

    #[tokio::test]
    async fn a_closed_direction_is_not_a_broken_connection() {
        let (connection, mut client) = pair(Duration::from_secs(20)).await;
        client.shutdown().await.unwrap();
        let stream = Arc::clone(&connection.stream);
        assert!(tokio::time::timeout(Duration::from_millis(200), broken(&stream)).await.is_err());
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        drop(client);
        tokio::time::timeout(Duration::from_secs(20), broken(&stream)).await.unwrap();
    }
}
