//! What customers may ask of the shop.

use std::num::NonZeroU32;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tracing::info_span;

use crate::database::{Database, query};
use crate::error::{Result, ShopError};
use crate::orders::{self, Order};
use crate::payments_client::Payments;
use crate::telemetry::{in_span, server_span};

#[derive(Clone)]
pub struct Shop {
    pub database: Database,
    pub payments: Payments,
}

#[derive(Deserialize)]
struct Item {
    product: String,
    quantity: NonZeroU32,
}

#[derive(Deserialize)]
struct Payment {
    card: String,
}

pub fn router(shop: Shop) -> Router {
    Router::new()
        .route("/", get("Coffee, and all that is needed to make it. See /products.\n"))
        .route("/products", get(products))
        .route("/products/{id}", get(product))
        .route("/cart/{user}/items", post(add_to_cart))
        .route("/checkout/{user}", post(check_out))
        .route("/orders/{id}", get(order))
        .route("/orders/{id}/refund", post(refund))
        .layer(from_fn(server_span))
        .with_state(shop)
}

async fn products(State(shop): State<Shop>) -> Result<Json<Value>> {
    let sql = "SELECT id, name, price_cents, stock FROM shop.products ORDER BY name";
    let rows = query(&shop.database.client().await?, "shop.products", sql, &[]).await?;
    Ok(Json(rows.iter().map(product_json).collect()))
}

async fn product(State(shop): State<Shop>, Path(id): Path<String>) -> Result<Json<Value>> {
    let sql = "SELECT id, name, price_cents, stock FROM shop.products WHERE id = $1";
    let rows = query(&shop.database.client().await?, "shop.products", sql, &[&id]).await?;
    rows.first().map(|row| Json(product_json(row))).ok_or(ShopError::UnknownProduct(id))
}

async fn add_to_cart(
    State(shop): State<Shop>,
    Path(user): Path<String>,
    Json(item): Json<Item>,
) -> Result<StatusCode> {
    let quantity = i64::from(item.quantity.get());
    let sql = "INSERT INTO shop.carts (customer, product, quantity) \
               SELECT $1, id, $3 FROM shop.products WHERE id = $2 \
               ON CONFLICT (customer, product) DO UPDATE SET quantity = excluded.quantity RETURNING product";
    let parameters: [&(dyn ToSql + Sync); 3] = [&user, &item.product, &quantity];
    let added = query(&shop.database.client().await?, "shop.carts", sql, &parameters).await?;
    if added.is_empty() { Err(ShopError::UnknownProduct(item.product)) } else { Ok(StatusCode::CREATED) }
}

async fn check_out(
    State(shop): State<Shop>,
    Path(user): Path<String>,
    Json(payment): Json<Payment>,
) -> Result<Json<Order>> {
    Ok(Json(orders::check_out(&shop.database, &shop.payments, &user, &payment.card).await?))
}

async fn order(State(shop): State<Shop>, Path(id): Path<i64>) -> Result<Json<Order>> {
    let order = orders::find(&shop.database, id).await?;
    // Some orders are drawn for an audit.
    if id % 13 == 0 {
        in_span(info_span!("audit the order"), orders::audit(&shop.database, id)).await?;
    }
    Ok(Json(order))
}

async fn refund(State(shop): State<Shop>, Path(id): Path<i64>) -> Result<Json<Order>> {
    let refund = orders::refund(&shop.database, &shop.payments, id);
    Ok(Json(in_span(info_span!("refund the order", order.id = id), refund).await?))
}

fn product_json(row: &Row) -> Value {
    let (id, name): (&str, &str) = (row.get(0), row.get(1));
    let (price_cents, stock): (i64, i64) = (row.get(2), row.get(3));
    json!({ "id": id, "name": name, "price_cents": price_cents, "stock": stock })
}
