//! What a hostile server does on a connection, one thing after the other.

use std::{io, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// One thing.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Send(Vec<u8>),
    /// Byte by byte, with a tick before each.
    Drip(Vec<u8>),
    /// Again and again as fast as the client takes it, without reading what the client says.
    Flood(Vec<u8>),
    /// Again and again with a tick before each.
    Repeat(Vec<u8>),
    /// Says nothing more; only the client can end this.
    Silence,
    /// Closes the connection as the protocol wants it.
    Close,
    /// Closes it without a word of TLS.
    Cut,
    /// Breaks the connection (RST).
    Reset,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Close,
    Reset,
}

/// Does these things; nothing if the connection goes on.
pub(super) async fn play<S>(stream: &mut S, steps: &[Step], tick: Duration) -> io::Result<Option<End>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for step in steps {
        match step {
            Step::Send(bytes) => send(stream, bytes).await?,
            Step::Drip(bytes) => {
                for byte in bytes {
                    tokio::time::sleep(tick).await;
                    send(stream, &[*byte]).await?;
                }
            }
            Step::Flood(bytes) => loop {
                send(stream, bytes).await?;
            },
            Step::Repeat(bytes) => loop {
                tokio::time::sleep(tick).await;
                send(stream, bytes).await?;
            },
            Step::Silence => {
                tokio::io::copy(stream, &mut tokio::io::sink()).await?;
                return Ok(Some(End::Close));
            }
            Step::Close => {
                stream.shutdown().await?;
                // A connection that is dropped with bytes unread is reset: that is the other step.
                tokio::time::timeout(tick, stream.read_to_end(&mut Vec::new())).await.ok();
                return Ok(Some(End::Close));
            }
            Step::Cut => return Ok(Some(End::Close)),
            Step::Reset => return Ok(Some(End::Reset)),
        }
    }
    Ok(None)
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
