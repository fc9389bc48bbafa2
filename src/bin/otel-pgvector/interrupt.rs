//! The signals that end a command in order.

/// Waits for Ctrl-C, or for SIGTERM, by which a service manager ends a process.
pub async fn interrupted() {
    #[cfg(unix)]
    if let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
        return;
    }
    // Where the system has no signals to listen to, it ends with the process.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
