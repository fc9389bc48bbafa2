CARGO ?= cargo
# Tests make their own settings: what `make env` put into the shell must not change them.
TEST = env -u OTEL_STORAGE_CONNECTION_STRING -u OTEL_STORAGE_EMBEDDING_MODEL $(CARGO) test --all-features

.PHONY: help setup env demo demo-stop test browser bench bench-full performance stop clean ready servers

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ready ## Fetch PostgreSQL, ONNX Runtime and the model into .local/, start the database
	@echo 'Ready. Next: make demo, or in your shell: eval "$$(make -s env)"'

env: ready ## Print the variables that point at it all; use as: eval "$(make -s env)"
	@scripts/env.sh

demo: ready ## Trace a small shop, search its spans by meaning, open the page on them
	$(CARGO) build --release --features cli --bin otel-pgvector --example shop
	@eval "$$(scripts/env.sh)" && scripts/demo.sh

demo-stop: ## Stop the demo's page and database, and delete its data
	@scripts/page.sh stop
	@scripts/postgres.sh remove 18

# What the server's version has no part in runs on one: networks that fail, models, settings, splitting, servers of a test's own.
TEST_16 = --test cli --test exporter --test import --test search --test serve --test store -- \
	--skip faults:: --skip hangs:: --skip load:: --skip server_faults:: --skip tls:: --skip cardinality:: --skip split::

test: servers ## Check formatting, lints and documentation, run the tests on PostgreSQL 18, and on 16 too what depends on it
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --all-features -- -D warnings
	for features in "" import-http serve; do \
		$(CARGO) clippy --lib --no-default-features --features "$$features" -- -D warnings || exit; done
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --no-deps --all-features
	OTEL_TEST_DATABASE_URL=$$(scripts/postgres.sh url 18) $(TEST) --lib --bins
	OTEL_TEST_DATABASE_URL=$$(scripts/postgres.sh url 18) $(TEST) --doc
	OTEL_TEST_DATABASE_URL=$$(scripts/postgres.sh url 16) $(TEST) $(TEST_16)
	OTEL_TEST_DATABASE_URL=$$(scripts/postgres.sh url 18) $(TEST) --test '*'
	scripts/check_docs.py
	$(MAKE) --no-print-directory browser
	@eval "$$(scripts/env.sh)" && scripts/check_python_exporter.py

browser: servers ## Drive the page in Chromium; pictures of it: scripts/browser.sh screenshots
	$(CARGO) build --all-features --bin otel-pgvector --test cli # with a test, the command is the one that tests use
	@eval "$$(scripts/env.sh)" && scripts/browser.sh

bench: ready ## Measure in under 10 minutes, a line of JSON a figure; one bench: make bench NAME=storage
	@OTEL_TEST_DATABASE_URL=$$(scripts/postgres.sh url 18) scripts/bench.sh quick $(NAME)

bench-full: ready ## The same at length: more rounds, more spans, the pictures of docs/images
	@OTEL_TEST_DATABASE_URL=$$(scripts/postgres.sh url 18) scripts/bench.sh full $(NAME)

performance: ## Put the figures of the last runs into docs/performance.md
	@scripts/performance.py

stop: ## Stop the page and the databases, keep their data
	@scripts/page.sh stop
	@scripts/postgres.sh stop 16
	@scripts/postgres.sh stop 18

clean: ## Stop the page and the databases, delete their data, .local/ and target/
	@scripts/page.sh stop
	@scripts/postgres.sh remove 16
	@scripts/postgres.sh remove 18
	rm -rf .local target

# These print to stderr, and only when there is something to do: `make env` is evaluated by a shell.
ready:
	@scripts/fetch_parts.py
	@scripts/postgres.sh start 18

servers: ready
	@scripts/postgres.sh start 16
	@scripts/debian_parts.sh
