//! A network with a long way: a proxy that delivers everything later, and counts round trips.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A way to a server.
pub struct Link {
    pub port: u16,
    turns: Arc<AtomicUsize>,
}

impl Link {
    /// A way on which a round trip takes this long.
    pub async fn start(server: SocketAddr, round_trip: Duration) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&turns);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let answered = Arc::new(AtomicBool::new(true));
                let (turns, answers) = (Arc::clone(&counted), Arc::clone(&answered));
                // What the client sends after an answer begins a round trip.
                let asks = move || {
                    turns.fetch_add(answered.swap(false, Ordering::SeqCst).into(), Ordering::SeqCst);
                };
                carry(from_client, to_server, round_trip / 2, asks, || ());
                carry(
                    from_server,
                    to_client,
                    round_trip / 2,
                    || (),
                    move || answers.store(true, Ordering::SeqCst),
                );
            }
        });
        Link { port, turns }
    }

    /// How often the client has sent something after an answer.
    pub fn round_trips(&self) -> usize {
        self.turns.load(Ordering::SeqCst)
    }
}

/// Delivers what comes after a time.
fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    on_arrival: impl Fn() + Send + 'static,
    on_delivery: impl Fn() + Send + 'static,
) {
    let (send, mut receive) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            on_arrival();
            if send.send((Instant::now() + delay, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((due, bytes)) = receive.recv().await {
            tokio::time::sleep_until(due).await;
            on_delivery();
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
    });
}
