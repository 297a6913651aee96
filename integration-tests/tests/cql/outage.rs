use std::{net::SocketAddr, time::Duration};

use facemill::{
    adapters::scylla::{ScyllaOptions, ScyllaStore},
    runner::ports::{PortError, ResultStore},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::keyspace::{Keyspace, address, detected};

/// Hands connections on to the database until it is dropped; then all of them break.
fn forward(listener: TcpListener) -> JoinSet<()> {
    let mut all = JoinSet::new();
    all.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            connections.spawn(async move {
                if let Ok(mut server) = TcpStream::connect(address()).await {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    all
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the stack: make it"]
async fn a_database_that_is_away_is_waited_for_and_found_again() {
    let keyspace = Keyspace::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here: SocketAddr = listener.local_addr().unwrap();
    let mut proxy = forward(listener);
    let request_timeout = Duration::from_secs(3);
    let options = ScyllaOptions { contact_points: vec![here.to_string()], request_timeout, ..keyspace.options() };
    let store = ScyllaStore::connect(&options, std::sync::Arc::default()).await.unwrap();
    let row = detected(1, "cats");
    store.write(&row).await.unwrap();

    proxy.shutdown().await;
    for _ in 0..5 {
        for error in [store.write(&row).await.unwrap_err(), store.settled(&row.image_id).await.unwrap_err()] {
            assert!(matches!(error, PortError::Unavailable(_)), "{error:?}");
        }
        sleep(Duration::from_millis(200)).await;
    }

    let _proxy = forward(TcpListener::bind(here).await.unwrap());
    let give_up = Instant::now() + Duration::from_secs(60);
    while let Err(error) = store.write(&row).await {
        assert!(matches!(error, PortError::Unavailable(_)), "{error:?}");
        assert!(Instant::now() < give_up, "{error:?}");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(store.settled(&row.image_id).await.unwrap().is_some());
}
