//! From a cart to an order that is paid.

use deadpool_postgres::GenericClient;
use serde::Serialize;
use tracing::info_span;

use crate::database::{Database, query};
use crate::error::{Result, ShopError};
use crate::payments_client::Payments;
use crate::telemetry::in_span;

#[derive(Serialize)]
pub struct Order {
    pub order_id: i64,
    pub total_cents: i64,
    pub status: String,
}

/// Turns a cart into an order and charges the card. The stock is reserved first, so that nobody pays for what is gone.
pub async fn check_out(
    database: &Database,
    payments: &Payments,
    customer: &str,
    card: &str,
) -> Result<Order> {
    let reserved = reserve(database, customer);
    let mut order = in_span(info_span!("reserve stock in the warehouse"), reserved).await?;
    let charged = payments.charge(order.order_id, order.total_cents, card).await;
    order.status = if charged.is_ok() { "paid" } else { "payment failed" }.into();
    let client = database.client().await?;
    if charged.is_err() {
        return_stock(&client, order.order_id).await?;
    }
    let sql = "UPDATE shop.orders SET status = $2 WHERE id = $1";
    query(&client, "shop.orders", sql, &[&order.order_id, &order.status]).await?;
    charged.map(|()| order)
}

/// One transaction: all of the cart is reserved, or nothing.
async fn reserve(database: &Database, customer: &str) -> Result<Order> {
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    // In the order of products, so that two customers cannot wait for each other.
    let sql = "DELETE FROM shop.carts WHERE customer = $1 RETURNING product, quantity";
    let mut items: Vec<(String, i64)> = query(&transaction, "shop.carts", sql, &[&customer])
        .await?
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    items.sort();
    if items.is_empty() {
        return Err(ShopError::EmptyCart);
    }
    let sql = "INSERT INTO shop.orders (customer) VALUES ($1) RETURNING id";
    let order_id: i64 = query(&transaction, "shop.orders", sql, &[&customer]).await?[0].get(0);
    let mut total_cents = 0;
    for (product, wanted) in items {
        let sql = "UPDATE shop.products SET stock = stock - $2 WHERE id = $1 AND stock >= $2 \
                   RETURNING price_cents * $2";
        let taken = query(&transaction, "shop.products", sql, &[&product, &wanted]).await?;
        let Some(row) = taken.first() else { return Err(ShopError::OutOfStock { product, wanted }) };
        total_cents += row.get::<_, i64>(0);
        let sql = "INSERT INTO shop.order_items (order_id, product, quantity) VALUES ($1, $2, $3)";
        query(&transaction, "shop.order_items", sql, &[&order_id, &product, &wanted]).await?;
    }
    let sql = "UPDATE shop.orders SET total_cents = $2 WHERE id = $1";
    query(&transaction, "shop.orders", sql, &[&order_id, &total_cents]).await?;
    transaction.commit().await?;
    Ok(Order { order_id, total_cents, status: "reserved".into() })
}

async fn return_stock(client: &impl GenericClient, order_id: i64) -> Result<()> {
    let sql = "UPDATE shop.products SET stock = stock + quantity FROM shop.order_items \
               WHERE order_id = $1 AND product = products.id";
    query(client, "shop.products", sql, &[&order_id]).await.map(drop)
}

pub async fn find(database: &Database, order_id: i64) -> Result<Order> {
    let client = database.client().await?;
    let sql = "SELECT total_cents, status FROM shop.orders WHERE id = $1";
    let rows = query(&client, "shop.orders", sql, &[&order_id]).await?;
    let row = rows.first().ok_or(ShopError::UnknownOrder(order_id))?;
    Ok(Order { order_id, total_cents: row.get(0), status: row.get(1) })
}

/// Checks an order against the books: a slow query that is given too little time.
pub async fn audit(database: &Database, order_id: i64) -> Result<()> {
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    transaction.batch_execute("SET LOCAL statement_timeout = '200ms'").await?;
    let sql = "SELECT sum(quantity)::bigint, pg_sleep(2) FROM shop.order_items WHERE order_id = $1";
    query(&transaction, "shop.order_items", sql, &[&order_id]).await?;
    Ok(transaction.commit().await?)
}

/// Gives the money back and puts the goods on the shelf again.
pub async fn refund(database: &Database, payments: &Payments, order_id: i64) -> Result<Order> {
    let order = find(database, order_id).await?;
    if order.status != "paid" {
        return Err(ShopError::NotPaid { status: order.status });
    }
    payments.refund(order_id, order.total_cents).await?;
    let client = database.client().await?;
    let sql = "UPDATE shop.orders SET status = 'refunded' WHERE id = $1 AND status = 'paid'";
    query(&client, "shop.orders", sql, &[&order_id]).await?;
    return_stock(&client, order_id).await?;
    Ok(Order { status: "refunded".into(), ..order })
}
