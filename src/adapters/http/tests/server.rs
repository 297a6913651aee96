use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What the server does on a request, one after the other. At the end it waits for the next request.
#[derive(Clone)]
pub(super) enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    /// The same bytes again and again, with a pause before each.
    Repeat(Vec<u8>, Duration),
    /// Keeps the connection open and says nothing more.
    Hang,
    Close,
    /// Between these two the request counts as being at the server.
    Enter,
    Leave,
}

/// A server on loopback, and what it saw.
pub(super) struct Server {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    requests: Vec<String>,
    inside: usize,
    most_inside: usize,
}

impl Server {
    /// Answers each request by its path.
    pub(super) async fn start(answer: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (answer, record) = (Arc::new(answer), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                record.lock().unwrap().connections += 1;
                let (answer, record) = (Arc::clone(&answer), Arc::clone(&record));
                // A client that has heard enough closes the connection: no fault of the server.
                tokio::spawn(async move { talk(stream, &*answer, &record).await.ok() });
            }
        });
        Server { port, seen }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(super) fn connections(&self) -> usize {
        self.seen().connections
    }

    /// The head of each request.
    pub(super) fn requests(&self) -> Vec<String> {
        self.seen().requests.clone()
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.seen().most_inside
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

async fn talk(mut stream: TcpStream, answer: &impl Fn(&str) -> Vec<Step>, seen: &Mutex<Seen>) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        // A TLS client says hello in other words; any first bytes of it are a request too.
        while !head.ends_with(b"\r\n\r\n") && !head.starts_with(&[0x16]) {
            let mut byte = [0];
            if stream.read(&mut byte).await? == 0 {
                return Ok(());
            }
            head.extend(byte);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let steps = answer(head.split(' ').nth(1).unwrap_or_default());
        seen.lock().unwrap().requests.push(head);
        for step in steps {
            match step {
                Step::Send(bytes) => stream.write_all(&bytes).await?,
                Step::Wait(pause) => tokio::time::sleep(pause).await,
                Step::Repeat(bytes, pause) => loop {
                    tokio::time::sleep(pause).await;
                    stream.write_all(&bytes).await?;
                },
                Step::Hang => std::future::pending().await,
                Step::Close => {
                    stream.shutdown().await?;
                    return Ok(());
                }
                Step::Enter => {
                    let mut seen = seen.lock().unwrap();
                    seen.inside += 1;
                    seen.most_inside = seen.most_inside.max(seen.inside);
                }
                Step::Leave => seen.lock().unwrap().inside -= 1,
            }
        }
    }
}

/// A response with a length.
pub(super) fn response(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<Step> {
    let mut bytes = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len()).into_bytes();
    headers.iter().for_each(|(name, value)| bytes.extend(format!("{name}: {value}\r\n").bytes()));
    bytes.extend(b"\r\n");
    bytes.extend(body);
    vec![Step::Send(bytes)]
}

/// Bytes that begin like a JPEG file.
pub(super) fn jpeg(length: usize) -> Vec<u8> {
    let mut bytes = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01".to_vec();
    bytes.extend((bytes.len()..length).map(|n| (n % 251) as u8));
    bytes
}
