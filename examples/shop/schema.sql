CREATE SCHEMA IF NOT EXISTS shop;

CREATE TABLE IF NOT EXISTS shop.products (
    id          text PRIMARY KEY,
    name        text NOT NULL,
    price_cents bigint NOT NULL,
    stock       bigint NOT NULL CHECK (stock >= 0)
);

CREATE TABLE IF NOT EXISTS shop.carts (
    customer text NOT NULL,
    product  text NOT NULL REFERENCES shop.products,
    quantity bigint NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (customer, product)
);

CREATE TABLE IF NOT EXISTS shop.orders (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer    text NOT NULL,
    total_cents bigint NOT NULL DEFAULT 0,
    status      text NOT NULL DEFAULT 'reserved'
);

CREATE TABLE IF NOT EXISTS shop.order_items (
    order_id bigint NOT NULL REFERENCES shop.orders,
    product  text NOT NULL REFERENCES shop.products,
    quantity bigint NOT NULL,
    PRIMARY KEY (order_id, product)
);

-- Every start is a delivery.
INSERT INTO shop.products (id, name, price_cents, stock) VALUES
    ('espresso-machine', 'Espresso machine', 32900, 400),
    ('coffee-grinder', 'Coffee grinder', 14900, 600),
    ('kettle', 'Kettle with a long neck', 5900, 900),
    ('scale', 'Scale', 2900, 900),
    ('filter-papers', 'Filter papers', 490, 5000),
    ('cups', 'Set of six cups', 3900, 800)
ON CONFLICT (id) DO UPDATE SET stock = excluded.stock;
