#!/usr/bin/env python3
"""Sends the demo's traffic to the shop: customers who browse, buy, fail to pay and ask for their money back.

Usage: drive_shop.py URL [REQUESTS]
"""

import json
import random
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

CARDS = ["4242424242424242"] * 6 + ["expired", "expired", "declined", "slow"]


class Progress:
    """A bar on a terminal, a line for every quarter elsewhere."""

    def __init__(self, total):
        self.total, self.answers, self.lock = total, Counter(), threading.Lock()

    def left(self):
        return self.total - sum(self.answers.values())

    def add(self, status):
        with self.lock:
            self.answers[status // 100] += 1
            done = sum(self.answers.values())
            if sys.stdout.isatty():
                bar = "━" * (30 * done // self.total)
                print(f"\r{bar:<30} {min(done, self.total)}/{self.total} requests", end="", flush=True)
            elif done % max(1, self.total // 4) == 0:
                print(f"{done}/{self.total} requests", flush=True)


def call(url, method="GET", body=None):
    """Status and answer; a refusal is part of the traffic, a shop that cannot be reached is not."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"content-type": "application/json"}, method=method)
    try:
        with urlopen(request, timeout=30) as answer:
            status, text = answer.status, answer.read()
    except HTTPError as error:
        status, text = error.code, error.read()
    try:
        return status, json.loads(text or "null")
    except ValueError:
        return status, None


def identifier(answer, *names):
    """The id in an answer, whether it is the answer itself or one of its fields."""
    if isinstance(answer, dict):
        return next((identifier(answer[name], "id") for name in names if name in answer), None)
    return answer if isinstance(answer, (int, str)) else None


def products(shop):
    answer = call(f"{shop}/products")[1]
    if isinstance(answer, dict):
        answer = next((value for value in answer.values() if isinstance(value, list)), [])
    return [found for found in (identifier(product, "id") for product in answer or []) if found is not None]


def visit(shop, chance, catalogue, progress):
    """One customer, start to end."""

    def step(path, method="GET", body=None):
        status, answer = call(shop + path, method, body)
        progress.add(status)
        return answer

    user = f"user-{chance.randrange(1000)}"
    step("/")
    step("/products")
    for _ in range(chance.randrange(1, 3)):
        step(f"/products/{chance.choice(catalogue)}")
    if chance.random() < 0.1:
        step("/products/no-such-product")
    # Some want more than any warehouse holds.
    quantity = 10_000 if chance.random() < 0.15 else chance.randrange(1, 4)
    step(f"/cart/{user}/items", "POST", {"product": chance.choice(catalogue), "quantity": quantity})
    order = identifier(step(f"/checkout/{user}", "POST", {"card": chance.choice(CARDS)}), "order_id", "order", "id")
    if order is not None:
        step(f"/orders/{order}")
        if chance.random() < 0.3:
            step(f"/orders/{order}/refund", "POST")


def main():
    shop, total = sys.argv[1].rstrip("/"), int(sys.argv[2]) if len(sys.argv) > 2 else 300
    catalogue = products(shop)
    if not catalogue:
        sys.exit(f"drive: {shop}/products lists nothing to buy")
    progress = Progress(total)
    # Every customer has chances of their own, so that the traffic is the same each time.
    seeds = iter(range(total))

    def customers():
        while progress.left() > 0:
            visit(shop, random.Random(next(seeds)), catalogue, progress)

    with ThreadPoolExecutor(4) as pool:
        for customer in [pool.submit(customers) for _ in range(4)]:
            customer.result()
    answers = progress.answers
    if sys.stdout.isatty():
        print()  # ends the bar's line
    print(f"{answers[2] + answers[3]} answered, {answers[4]} refused, {answers[5]} failed in the shop")


if __name__ == "__main__":
    try:
        main()
    except (URLError, OSError) as error:
        sys.exit(f"\ndrive: the shop does not answer: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
