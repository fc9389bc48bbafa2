//! A small shop and its payment service: two services, one database, every request one trace across both.
//!
//! The spans are stored in the very PostgreSQL that holds products, carts and orders (schema `shop`).
//!
//! ```sh
//! make setup && eval "$(make -s env)"
//! cargo run --example shop
//! curl localhost:8080/products
//! curl localhost:8080/cart/ada/items --json '{"product": "kettle", "quantity": 2}'
//! curl localhost:8080/checkout/ada --json '{"card": "expired"}'    # or declined, slow, 4242424242424242
//! ```

mod database;
mod error;
mod orders;
mod payments;
mod payments_client;
mod routes;
mod telemetry;

use std::error::Error;
use std::process::ExitCode;

use opentelemetry_pgvector::Settings;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use database::Database;
use payments_client::Payments;
use routes::Shop;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shop: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let settings = Settings::from_env()?;
    if settings.connection_string.is_empty() {
        return Err(
            "OTEL_STORAGE_CONNECTION_STRING is not set. Start a database with `make setup` and point \
                    this shell at it with `eval \"$(make -s env)\"`"
                .into(),
        );
    }
    let database = Database::open(&settings.connection_string)
        .await
        .map_err(|error| format!("cannot use the database at {}: {error}", settings.target()))?;

    // A provider has one resource, so each service has a provider of its own.
    let shop_provider = telemetry::provider(&settings, "shop")?;
    let payments_provider = telemetry::provider(&settings, "payments")?;
    telemetry::install(&shop_provider);

    let payments_listener = TcpListener::bind("127.0.0.1:0").await?;
    let payments = Payments::new(payments_listener.local_addr()?)?;
    let payments_server = axum::serve(payments_listener, payments::router(&payments_provider));

    let address = std::env::var("SHOP_ADDRESS").unwrap_or_else(|_| "127.0.0.1:8080".into());
    let listener = TcpListener::bind(&address).await.map_err(|error| format!("{address}: {error}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    let shop = axum::serve(listener, routes::router(Shop { database, payments }));

    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    tokio::select! {
        served = shop.with_graceful_shutdown(stop) => served?,
        served = payments_server => served?,
    }

    // Both, whatever becomes of the first: what is still in memory is stored here.
    Ok(shop_provider.shutdown().and(payments_provider.shutdown())?)
}
