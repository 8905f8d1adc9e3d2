# Everything a newcomer needs: `make demo` and `make test`. See CONTRIBUTING.md.
CARGO ?= cargo

.PHONY: demo test bench soak histories groupings comparisons fuzz lint strangers compose preflight preflight-kafka deb

demo: preflight ## a source, a target, a mixed load, kills; then the proof that both are equal
	$(CARGO) build --release --locked -p binferry -p binferry-demo
	target/release/binferry-demo

test: preflight preflight-kafka ## unit, property and end-to-end tests on real servers
	$(CARGO) test --workspace --locked

bench: preflight preflight-kafka ## figures against the limits and the peers, as ratios in one run
	$(CARGO) build --release --locked -p binferry -p binferry-bench
	target/release/binferry-bench

soak: preflight ## KILLS=60 SIGKILLs at random moments of a load of SECONDS=300; BROKERS=3 puts the log in Kafka and kills its leaders too. MINUTES=10: two appliers on one target instead. (make histories: schema changes while tables are copied.) SEED=N again
	$(CARGO) build --release --locked -p binferry -p binferry-demo
	target/release/binferry-demo $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES),\
	 --kills $(or $(KILLS),60) --seconds $(or $(SECONDS),300) $(if $(BROKERS),--kafka $(BROKERS)))

histories: preflight ## HISTORIES=50 random ones of schema changes and rows, of SECONDS=20 each, while tables are copied, under kills. SEED=N again
	BINFERRY_HISTORIES=$(or $(HISTORIES),50) BINFERRY_SECONDS=$(or $(SECONDS),20) $(if $(SEED),BINFERRY_SEED=$(SEED)) \
	 $(CARGO) test --release --locked -p binferry --test end_to_end evolution:: -- --nocapture

groupings: preflight ## histories of rows whose order matters, applied by one worker and by many that are killed, for MINUTES=60. SEED=N again
	BINFERRY_GROUPINGS=$(or $(MINUTES),60) $(if $(SEED),BINFERRY_SEED=$(SEED)) \
	 $(CARGO) test --release --locked -p binferry --test end_to_end groupings:: -- --nocapture

comparisons: preflight ## ROUNDS=1000 of comparing under a load: nothing may be found that is not there
	BINFERRY_COMPARISONS=$(or $(ROUNDS),1000) \
	 $(CARGO) test --release --locked -p binferry --test end_to_end diff::traffic:: -- --nocapture

fuzz: preflight ## libFuzzer on every decoder, SECONDS=900 each; TARGETS="packet event"
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { echo "missing: cargo-fuzz. cargo install --locked cargo-fuzz" >&2; exit 1; }
	@for target in $(or $(TARGETS),packet event row json payload record); do \
	 $(CARGO) fuzz run --sanitizer none --features libfuzzer $$target -- \
	 -max_total_time=$(or $(SECONDS),900) -timeout=10 -rss_limit_mb=2048 -max_len=65536 || exit 1; done

lint: preflight ## formatting, clippy without warnings, licences and advisories where cargo-deny is installed
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --all-features check licenses bans sources; \
	 else echo "lint: cargo-deny is not installed (cargo install cargo-deny); licences were not checked" >&2; fi

compose: ## MySQL, Kafka, Binferry and a second MySQL in containers (compose/README.md)
	@docker compose version >/dev/null 2>&1 || { echo "missing: Docker with the compose plugin (docs.docker.com/compose/install)" >&2; exit 1; }
	docker compose -f compose/compose.yaml up --build --detach --wait

# Not in the home of whoever builds: it serves this alone.
DEB := target/tools/bin/cargo-deb
deb: preflight $(DEB) ## a Debian package of a release build, in target/debian
	$(CARGO) build --release --locked -p binferry
	packaging/pages target/release/binferry target/package
	PATH="$(CURDIR)/target/tools/bin:$$PATH" $(CARGO) deb --no-build --locked -p binferry

$(DEB):
	@echo "cargo-deb is missing: building it, once, into target/tools" >&2
	$(CARGO) install --locked cargo-deb --version 3.8.0 --root target/tools

strangers: ## reads the golden files with Python's fastavro
	schemas/tests/strangers/run

preflight:
	@command -v $(CARGO) >/dev/null 2>&1 || { echo "missing: Rust (cargo, rustc $$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer). Install it with rustup." >&2; exit 1; }
	@command -v cc >/dev/null 2>&1 || { echo "missing: a C compiler (cc). On Debian or Ubuntu: apt-get install build-essential" >&2; exit 1; }
	@command -v perl >/dev/null 2>&1 || { echo "missing: perl, which builds OpenSSL for Kafka's client. On Debian or Ubuntu: apt-get install perl" >&2; exit 1; }
	@command -v git >/dev/null 2>&1 || { echo "missing: git" >&2; exit 1; }
	@have=$$(rustc --version | cut -d' ' -f2); want=$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml); \
	 [ "$$(printf '%s\n%s\n' "$$want" "$$have" | sort -V | head -n 1)" = "$$want" ] || \
	 { echo "rustc $$have is too old: $$want or newer is needed (rustup update)" >&2; exit 1; }

# Where a cluster's address is given, nothing of Java is needed.
preflight-kafka:
	@[ -z "$$BINFERRY_TEST_KAFKA" ] || exit 0; \
	 remedy="On Debian or Ubuntu: apt-get install openjdk-17-jre-headless maven. Or name a running cluster: BINFERRY_TEST_KAFKA=host:port"; \
	 java="$${JAVA_HOME:+$$JAVA_HOME/bin/}java"; command -v "$$java" >/dev/null 2>&1 || java=java; \
	 have=$$("$$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p'); \
	 [ "$${have:-0}" -ge 17 ] || { echo "missing: Java 17 or newer, for Kafka. $$remedy" >&2; exit 1; }; \
	 [ -n "$$KAFKA_HOME" ] || command -v kafka-server-start.sh >/dev/null 2>&1 || command -v mvn >/dev/null 2>&1 || \
	 { echo "missing: Maven (mvn), which fetches Kafka; or a Kafka of your own in KAFKA_HOME. $$remedy" >&2; exit 1; }
