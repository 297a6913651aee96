//! A small HTTP/1.1 server on loopback (RFC 9112): GET and HEAD, kept-alive connections, no bodies in requests.
//!
//! Written on bare sockets because a good HTTP library would not let it misbehave.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    runtime::Runtime,
};

use crate::answer::{Answer, Site};

/// Longest line that a request may have.
const MAX_LINE_BYTES: u64 = 16 * 1024;

/// How a [`WebServer`] is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of pictures to serve; at least one of them is a JPEG.
    pub photos: PathBuf,
    /// Added before every answer: a far-away server.
    pub delay: Duration,
}

impl Options {
    /// Serves this folder without delay.
    pub fn new(photos: impl Into<PathBuf>) -> Self {
        Options { photos: photos.into(), delay: Duration::ZERO }
    }
}

/// A running server. Dropping it closes the port and every connection.
///
/// | path | answer |
/// |---|---|
/// | `/photos/NAME` | that file of the folder |
/// | `/moved/NAME` | 302 to `/photos/NAME` |
/// | `/counted/N.jpg` | picture N modulo their number, in the order of names: any number of distinct URLs |
/// | `/slow/MILLISECONDS/PATH` | the answer to `/PATH`, that much later |
/// | `/status/CODE.jpg` | that status and an empty body |
/// | `/page.jpg` | HTML |
/// | `/truncated.jpg` | the first 40 % of the folder's first JPEG, with a Content-Length that says so |
/// | `/pixel.png` | [`crate::PIXEL_PNG`] |
/// | `/loop.jpg` | 302 to itself |
/// | `/stall.jpg` | the header and half of a JPEG, then silence on an open connection |
/// | `/robots.jpg` | a JPEG with `X-Robots-Tag: noai` |
/// | `/flaky.jpg?…` | 503 when asked first, then a JPEG; by query |
/// | any other | 404 |
#[derive(Debug)]
pub struct WebServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    site: Site,
    delay: Duration,
    hits: Mutex<HashMap<String, Vec<SystemTime>>>,
}

impl WebServer {
    /// Starts on a free port of 127.0.0.1, on a thread of its own: callable with and without a runtime around it.
    ///
    /// # Errors
    /// The folder cannot be read or has no JPEG, or there is no port.
    pub fn start(options: Options) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            site: Site::open(&options.photos)?,
            delay: options.delay,
            hits: Mutex::new(HashMap::new()),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Ok(WebServer { address, shared, runtime: Some(runtime) })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The absolute URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How often this path, with its query, was asked for.
    pub fn hits(&self, path: &str) -> usize {
        self.times(path).len()
    }

    /// When this path, with its query, was asked for.
    pub fn times(&self, path: &str) -> Vec<SystemTime> {
        self.shared.hits(|hits| hits.get(path).cloned().unwrap_or_default())
    }

    /// How many requests there were in all.
    pub fn total_hits(&self) -> usize {
        self.shared.hits(|hits| hits.values().map(Vec::len).sum())
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        // The ordinary drop waits, which a runtime around the caller forbids.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn hits<T>(&self, with: impl FnOnce(&mut HashMap<String, Vec<SystemTime>>) -> T) -> T {
        with(&mut self.hits.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts one request and gives the number of those before it.
    fn count(&self, target: &str) -> usize {
        self.hits(|hits| {
            let times = hits.entry(target.to_owned()).or_default();
            times.push(SystemTime::now());
            times.len() - 1
        })
    }
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                // A client that goes away in the middle is its own business.
                tokio::spawn(async move { serve(stream, &shared).await.ok() });
            }
            // Out of file descriptors: those in use come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await? {
        let answer = match request.method.as_str() {
            "GET" | "HEAD" => shared.site.answer(&request.target, shared.count(&request.target)),
            _ => Answer { status: 405, ..Answer::default() },
        };
        tokio::time::sleep(shared.delay + answer.wait).await;
        let mut message = head(&answer);
        if request.method != "HEAD" {
            let sent = answer.stalls_after.unwrap_or(answer.body.len());
            message.extend_from_slice(answer.body.get(..sent).unwrap_or_default());
        }
        stream.write_all(&message).await?;
        if answer.stalls_after.is_some() {
            // Nothing more is said; only the client can end this.
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
            return Ok(());
        }
        if request.closes {
            return stream.shutdown().await;
        }
    }
    Ok(())
}

pub(crate) struct Request {
    method: String,
    pub(crate) target: String,
    /// The client wants the connection closed after the answer.
    closes: bool,
}

/// The next request of a connection, or nothing when the client has closed it.
pub(crate) async fn read_request(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Request>> {
    let first = read_line(stream).await?;
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Ok(None);
    };
    let mut request = Request { method: method.to_owned(), target: target.to_owned(), closes: version != "HTTP/1.1" };
    loop {
        let line = read_line(stream).await?.to_ascii_lowercase();
        if line.is_empty() {
            return Ok(Some(request));
        }
        request.closes |= line.strip_prefix("connection:").is_some_and(|value| value.trim() == "close");
    }
}

async fn read_line(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    stream.take(MAX_LINE_BYTES).read_line(&mut line).await?;
    line.truncate(line.trim_end().len());
    Ok(line)
}

fn head(answer: &Answer) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} \r\nContent-Length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{ErrorKind, Read, Write},
        net::TcpStream,
        time::Instant,
    };

    use super::*;

    fn server(delay: Duration) -> (tempfile::TempDir, WebServer) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.jpg"), [7; 1000]).unwrap();
        let server = WebServer::start(Options { delay, ..Options::new(folder.path()) }).unwrap();
        (folder, server)
    }

    fn connect(server: &WebServer) -> TcpStream {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        stream
    }

    /// Sends a request and reads one answer: its header and its body.
    fn ask(stream: &mut TcpStream, request: &str) -> (String, Vec<u8>) {
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.split("Content-Length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let bodiless = request.starts_with("HEAD");
        let mut body = vec![0; if bodiless { 0 } else { length.parse().unwrap() }];
        stream.read_exact(&mut body).unwrap();
        (head, body)
    }

    #[test]
    fn one_connection_serves_many_requests_and_counts_them_by_path() {
        let (_folder, server) = server(Duration::ZERO);
        let mut stream = connect(&server);
        for _ in 0..3 {
            let (head, body) = ask(&mut stream, "GET /photos/a.jpg HTTP/1.1\r\nHost: x\r\n\r\n");
            assert!(head.starts_with("HTTP/1.1 200 "));
            assert_eq!(body, [7; 1000]);
        }
        let (head, body) = ask(&mut stream, "HEAD /photos/a.jpg HTTP/1.1\r\n\r\n");
        assert!(head.contains("Content-Length: 1000\r\n") && body.is_empty());
        assert!(ask(&mut stream, "GET /missing.jpg?x HTTP/1.1\r\n\r\n").0.starts_with("HTTP/1.1 404 "));
        assert!(ask(&mut stream, "POST /photos/a.jpg HTTP/1.1\r\n\r\n").0.starts_with("HTTP/1.1 405 "));
        assert_eq!([server.hits("/photos/a.jpg"), server.hits("/missing.jpg?x"), server.hits("/other")], [4, 1, 0]);
        assert_eq!(server.total_hits(), 5);
    }

    #[test]
    fn the_connection_closes_when_the_client_asks_for_it() {
        let (_folder, server) = server(Duration::ZERO);
        let mut stream = connect(&server);
        ask(&mut stream, "GET /pixel.png HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_stalling_body_stops_half_way_on_an_open_connection() {
        let (_folder, server) = server(Duration::ZERO);
        let mut stream = connect(&server);
        stream.write_all(b"GET /stall.jpg HTTP/1.1\r\n\r\n").unwrap();
        let mut received = Vec::new();
        let error = stream.read_to_end(&mut received).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        assert!(String::from_utf8_lossy(&received).contains("Content-Length: 1000\r\n"));
        assert!(received.ends_with(&[7; 500]) && !received.ends_with(&[7; 501]));
    }

    #[test]
    fn the_delay_comes_before_every_answer() {
        let (_folder, server) = server(Duration::from_millis(60));
        let asked = Instant::now();
        ask(&mut connect(&server), "GET /slow/60/pixel.png HTTP/1.1\r\n\r\n");
        assert!(asked.elapsed() >= Duration::from_millis(120));
    }

    #[test]
    fn dropping_the_server_closes_its_port_even_inside_a_runtime() {
        let (_folder, server) = server(Duration::ZERO);
        let address = server.address;
        tokio::runtime::Runtime::new().unwrap().block_on(async move { drop(server) });
        let closed = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            TcpStream::connect(address).is_err()
        });
        assert!(closed, "{address} still answers");
    }
}
