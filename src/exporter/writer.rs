//! One write to the spool at a time, and nobody waits for a disk that hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

use crate::error::{Error, Result};

/// Hands out turns. While the one who has it is overdue, nobody gets in line.
#[derive(Default)]
pub(super) struct Writer {
    turns: Arc<Mutex<u64>>,
    state: Arc<State>,
}

/// Numbers of turns; 0 is none.
#[derive(Default)]
struct State {
    running: AtomicU64,
    overdue: AtomicU64,
}

/// The right to write. It ends with the write, or when it is dropped.
pub(super) struct Turn {
    number: OwnedMutexGuard<u64>,
    state: Arc<State>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.state.running.store(0, Ordering::Release);
    }
}

impl Writer {
    /// Waits for the turn, not beyond the deadline.
    pub(super) async fn turn(&self, deadline: Instant) -> Result<Turn> {
        let running = self.state.running.load(Ordering::Acquire);
        if running != 0 && running == self.state.overdue.load(Ordering::Acquire) {
            return Err(hangs());
        }
        let turn = timeout_at(deadline, Arc::clone(&self.turns).lock_owned());
        let mut number = turn.await.map_err(|_| hangs())?;
        *number += 1;
        self.state.running.store(*number, Ordering::Release);
        Ok(Turn { number, state: Arc::clone(&self.state) })
    }
}

impl Turn {
    /// Writes on a thread that may wait for a disk. After the deadline the write goes on without anybody who listens.
    pub(super) async fn write<T: Send + 'static>(
        self,
        deadline: Instant,
        write: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (number, state) = (*self.number, Arc::clone(&self.state));
        let writing = tokio::task::spawn_blocking(move || {
            let _turn = self;
            write()
        });
        match timeout_at(deadline, writing).await {
            Ok(written) => written
                .map_err(|error| Error::Io { doing: "writing to the spool".into(), source: error.into() }),
            Err(_) => {
                state.overdue.store(number, Ordering::Release);
                Err(hangs())
            }
        }
    }
}

fn hangs() -> Error {
    let source =
        std::io::Error::new(std::io::ErrorKind::TimedOut, "the disk, or the folder's lock, does not answer");
    Error::Io { doing: "writing to the spool".into(), source }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn while_a_write_is_overdue_nobody_waits_and_afterwards_the_next_writes() {
        let writer = Writer::default();
        let soon = || Instant::now() + Duration::from_millis(20);
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let turn = writer.turn(soon()).await.expect("free");
        assert!(turn.write(soon(), move || ended.recv()).await.is_err(), "overdue");
        let begin = Instant::now();
        assert!(writer.turn(begin + Duration::from_secs(60)).await.is_err());
        assert!(begin.elapsed() < Duration::from_secs(30));
        end.send(()).expect("heard");
        let turn = loop {
            if let Ok(turn) = writer.turn(Instant::now() + Duration::from_secs(60)).await {
                break turn;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(turn.write(Instant::now() + Duration::from_secs(60), || 7).await.expect("written"), 7);
    }

    #[tokio::test]
    async fn a_short_write_is_waited_for() {
        let writer = Writer::default();
        let far = Instant::now() + Duration::from_secs(60);
        let turn = writer.turn(far).await.expect("free");
        let pause = || std::thread::sleep(Duration::from_millis(50));
        let (first, second) = tokio::join!(turn.write(far, pause), writer.turn(far));
        assert!(first.is_ok() && second.is_ok());
    }
}
