use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;

use super::{
    Manner, Talk,
    http1::{self, picture},
    http2::{ACK, HEADERS, SETTINGS, frame},
    manners,
    step::{End, Step, play},
    tls::Authority,
};
use crate::server::read_request;

/// What a client says first (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;

/// How a [`HostileServer`] is set up.
#[derive(Debug, Clone, Copy)]
pub struct HostileOptions {
    /// Addresses that each manner has, at most 250.
    pub hosts: u8,
    /// The pause of whoever is slow.
    pub tick: Duration,
    /// Which manners there are.
    pub choose: fn(&Manner) -> bool,
}

impl Default for HostileOptions {
    /// All manners, one address each, and a pause of a second.
    fn default() -> Self {
        HostileOptions { hosts: 1, tick: Duration::from_secs(1), choose: |_| true }
    }
}

/// All manners at once, each at addresses of its own. Dropping it closes everything.
///
/// | names | what is wrong |
/// |---|---|
/// | `accept-`, `header-`, `continue-`, `hints-` | the connection or the header does not come, comes slowly, or never ends |
/// | `body-`, `chunk-`, `trailer-` | the same of the body; or it is empty, endless, or no picture |
/// | `length-` | the length is a lie, in both directions, or no length |
/// | `close-`, `reset-`, `ssh`, `smtp`, `http-`, `answer-` | the connection breaks, or speaks another protocol |
/// | `status-`, `redirect-`, `location-`, `switch-` | statuses without a picture, redirects to nowhere good |
/// | `retry-` | 429 and 503 with every form of Retry-After |
/// | `gzip`, `deflate`, `br`, `zstd`, `coding-`, `…-bomb` | compressed although nobody asked |
/// | `tls-` | certificates and handshakes |
/// | `h2-` | HTTP/2: floods, resets, windows, header bombs |
#[derive(Debug)]
pub struct HostileServer {
    /// All manners at their first addresses, then all at their second ones.
    places: Vec<Place>,
    authority: String,
    runtime: Option<Runtime>,
}

/// A manner at one address.
#[derive(Debug)]
struct Place {
    manner: Arc<Manner>,
    address: SocketAddr,
    tally: Arc<Tally>,
    /// What fills the queue of one that never accepts, and the queue.
    _queue: Option<(TcpListener, Vec<TcpStream>)>,
}

/// Connections: how many there were, and how many there are.
#[derive(Debug, Default)]
struct Tally {
    all: AtomicUsize,
    open: AtomicUsize,
}

impl HostileServer {
    /// Starts on free ports, on a thread of its own. Not callable with a runtime around it.
    ///
    /// # Errors
    /// There is no port, or no certificate can be made.
    pub fn start(options: HostileOptions) -> io::Result<Self> {
        let authority = Authority::new()?;
        http1::prepare();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let manners: Vec<_> = manners().into_iter().map(Arc::new).collect();
        let mut places = Vec::new();
        for host in 1..=options.hosts.max(1) {
            for (manner, number) in manners.iter().zip(1..).filter(|(manner, _)| (options.choose)(manner)) {
                let address = Ipv4Addr::new(127, 66, number, host);
                places.push(runtime.block_on(open(manner, address, &authority, options.tick))?);
            }
        }
        Ok(HostileServer { places, authority: authority.pem().to_owned(), runtime: Some(runtime) })
    }

    /// The certificate of the authority behind those that are in order: for `SSL_CERT_FILE`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// One URL of each manner.
    pub fn urls(&self) -> Vec<(&Manner, String)> {
        let mut seen = Vec::new();
        for place in &self.places {
            if !seen.iter().any(|(manner, _): &(&Manner, String)| manner.name == place.manner.name) {
                seen.push((&*place.manner, place.url(0)));
            }
        }
        seen
    }

    /// So many different URLs, of all manners chosen by turns, on all their hosts by turns.
    pub fn list(&self, count: usize, choose: impl Fn(&Manner) -> bool) -> Vec<String> {
        let places: Vec<_> = self.places.iter().filter(|place| choose(&place.manner)).collect();
        places.iter().cycle().take(count).enumerate().map(|(number, place)| place.url(number)).collect()
    }

    /// Connections that there were to a manner.
    pub fn connections(&self, name: &str) -> usize {
        self.places.iter().filter(|place| place.manner.name == name).map(|place| place.tally.all.load(Relaxed)).sum()
    }

    /// The manners that have connections now, and how many.
    pub fn open(&self) -> Vec<(&'static str, usize)> {
        let count = |place: &Place| (place.manner.name, place.tally.open.load(Relaxed));
        self.places.iter().map(count).filter(|(_, open)| *open > 0).collect()
    }
}

impl Drop for HostileServer {
    fn drop(&mut self) {
        // The ordinary drop waits, which a runtime around the caller forbids.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Place {
    fn url(&self, number: usize) -> String {
        format!("{}://{}/hostile/{}/{number}/", self.manner.scheme(), self.address, self.manner.name)
    }
}

async fn open(manner: &Arc<Manner>, address: Ipv4Addr, authority: &Authority, tick: Duration) -> io::Result<Place> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((address, 0).into())?;
    let mut place =
        Place { manner: Arc::clone(manner), address: socket.local_addr()?, tally: Arc::default(), _queue: None };
    if matches!(manner.talk, Talk::NeverAccepts) {
        place._queue = Some(full(socket.listen(1)?).await?);
        return Ok(place);
    }
    let http2 = matches!(manner.talk, Talk::Answers2(_));
    let tls = manner.certificate.map(|certificate| authority.acceptor(certificate, address, http2)).transpose()?;
    let listener = socket.listen(1024)?;
    let (manner, tally) = (Arc::clone(manner), Arc::clone(&place.tally));
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors: those in use come back.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            tally.all.fetch_add(1, Relaxed);
            tally.open.fetch_add(1, Relaxed);
            let (manner, tls, tally) = (Arc::clone(&manner), tls.clone(), Arc::clone(&tally));
            tokio::spawn(async move {
                // A client that goes away in the middle is its own business.
                serve(stream, &manner, tls, tick).await.ok();
                tally.open.fetch_sub(1, Relaxed);
            });
        }
    });
    Ok(place)
}

/// Connects until the queue takes no more.
async fn full(listener: TcpListener) -> io::Result<(TcpListener, Vec<TcpStream>)> {
    let address = listener.local_addr()?;
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queued.push(stream?);
    }
    Ok((listener, queued))
}

async fn serve(mut stream: TcpStream, manner: &Manner, tls: Option<TlsAcceptor>, tick: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let end = match (manner.talk, tls) {
        (Talk::NeverAccepts, _) => End::Close,
        (Talk::Greets(script), _) => {
            let steps = [script(), vec![Step::Silence]].concat();
            play(&mut stream, &steps, tick).await?.unwrap_or(End::Close)
        }
        (Talk::Answers(script), None) => talk1(&mut stream, script, tick).await?,
        (Talk::Answers(script), Some(tls)) => talk1(tls.accept(&mut stream).await?, script, tick).await?,
        (Talk::Answers2(_), None) => End::Close,
        (Talk::Answers2(script), Some(tls)) => {
            let stream = tls.accept(&mut stream).await?;
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => talk2(stream, script, tick).await?,
                _ => talk1(stream, |_| vec![picture("")], tick).await?,
            }
        }
    };
    if end == End::Reset {
        stream.set_zero_linger()?;
    }
    Ok(())
}

async fn talk1<S>(stream: S, script: fn(&str) -> Vec<Step>, tick: Duration) -> io::Result<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufStream::new(stream);
    while let Some(request) = read_request(&mut stream).await? {
        if let Some(end) = play(&mut stream, &script(&request.target), tick).await? {
            return Ok(end);
        }
    }
    Ok(End::Close)
}

async fn talk2<S>(mut stream: S, script: fn(u32) -> Vec<Step>, tick: Duration) -> io::Result<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).await?;
    stream.read_exact(&mut [0; PREFACE_BYTES]).await?;
    loop {
        let [a, b, c, kind, flags] = array(&mut stream).await?;
        let id = u32::from_be_bytes(array(&mut stream).await?);
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, b"")).await?,
            HEADERS => {
                if let Some(end) = play(&mut stream, &script(id), tick).await? {
                    return Ok(end);
                }
            }
            _ => {}
        }
        stream.flush().await?;
    }
}

async fn array<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        io::{Read, Write},
        net::TcpStream,
    };

    use super::*;
    use crate::hostile::Cost;

    fn server() -> HostileServer {
        HostileServer::start(HostileOptions { hosts: 2, tick: Duration::from_millis(20), ..HostileOptions::default() })
            .unwrap()
    }

    /// What a server says to one request until it closes or has said nothing for a while.
    fn ask(url: &str) -> Vec<u8> {
        let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        write!(stream, "GET /{path} HTTP/1.1\r\n\r\n").unwrap();
        let mut said = Vec::new();
        // It stalls or breaks off, as the case may be.
        let _ = stream.read_to_end(&mut said);
        said
    }

    #[test]
    fn a_list_goes_round_all_manners_and_hosts_and_names_no_url_twice() {
        let server = server();
        let all = server.list(1000, |_| true);
        assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (1000, 1000));
        let hosts: BTreeSet<_> = all.iter().map(|url| url.split('/').nth(2).unwrap()).collect();
        assert_eq!(hosts.len(), 2 * manners().len());
        let slow: Vec<_> =
            manners().iter().filter(|manner| manner.cost == Cost::Time).map(|manner| manner.name).collect();
        let quick = server.list(1000, |manner| manner.cost != Cost::Time);
        assert!(quick.iter().all(|url| !slow.contains(&url.split('/').nth(4).unwrap())));
        assert_eq!(quick.len(), 1000);
    }

    #[test]
    fn a_manner_does_what_its_row_says_and_its_connections_are_counted() {
        let server = server();
        let urls = server.urls();
        let said = |name: &str| ask(&urls.iter().find(|(manner, _)| manner.name == name).unwrap().1);
        assert!(said("body-stall").starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert_eq!(said("header-stall-in-status"), b"HTTP/1.1 20");
        assert_eq!(said("close-on-request"), b"");
        assert!(said("redirect-to-private").starts_with(b"HTTP/1.1 302 Found\r\nLocation: http://[::1]/\r\n"));
        assert!(said("length-smuggle").ends_with(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!([server.connections("body-stall"), server.connections("http-1-0")], [1, 0]);
        let give_up = std::time::Instant::now() + Duration::from_secs(10);
        while !server.open().is_empty() {
            assert!(std::time::Instant::now() < give_up, "{:?}", server.open());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
