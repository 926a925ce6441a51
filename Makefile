# Every target that needs the environment builds it first; `make help` lists them all.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
BIN := .venv/bin
STAMP := .venv/.complete
LOOPS := .venv/.compiled
# A lock names hashes and never a host to fetch from.
COMPILE := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet
# An SBOM of the same lock is the same file: no times, no random numbers.
SBOM = $(BIN)/python -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible --sv 1.6 --validate

.PHONY: help setup run test test-browser unit chaos crash equal soak test-gateways load-gateways nightly-formats bench bench-capacity bench-quick bench-detectors bench-sketches bench-console bench-labels check format vendor lock reset contracts audit sbom docs secrets clean test-lifecycle test-decisions test-observed

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  \033[36m%-16s\033[0m %s\n", $$1, $$2}'

setup: $(STAMP) $(LOOPS) ## Build .venv from the hashed lock, and compile the hot loops.

$(STAMP): requirements.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "stillwatch needs Python 3.11 or newer with the venv module; name one: make setup PYTHON=/usr/bin/python3.12"; exit 2; }
	@[ -x $(BIN)/python ] || { echo "building .venv with $(PYTHON)"; $(PYTHON) -m venv .venv; }
	@[ -x $(BIN)/uv ] || $(BIN)/python -m pip install --quiet --require-hashes --no-deps -r <(awk '/^uv==/{p=1} p{print} p&&!/\\$$/{exit}' requirements.lock)
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip sync --quiet --require-hashes requirements.lock
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $(STAMP)

# What is compiled ahead need not be at the first start; what has changed since is compiled by whoever needs it first.
$(LOOPS): $(STAMP) $(wildcard detection/*.py detection/accounts/*.py detection/state/*.py)
	@$(BIN)/python -m detection.accounts.warm
	@touch $(LOOPS)

run: setup ## Start Kafka, Postgres, the jobs, the console and live sample traffic.
	@exec $(BIN)/stillwatch up --simulate demo

test: setup ## Run every test, on a real Kafka and a real Postgres.
	$(BIN)/pytest

test-browser: setup ## Drive the console with a real browser on the real stack; screenshots go to docs/screenshots.
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium; } || { echo "a Chromium is needed: apt-get install chromium"; exit 2; }
	$(BIN)/pytest -p no:randomly --timeout 900 tests/browser/journeys.py tests/browser/pages.py

test-observed: setup ## Put every question of the dashboards to a real Prometheus that scrapes the running product.
	$(BIN)/pytest -p no:randomly -s tests/acceptance/observed.py

bench-console: setup ## Measure the console's queue with 100,000 alerts: times, query plans, page weight, vitals.
	$(BIN)/python -m tests.benchmarks.console_queue

unit: setup ## Run the fast tests only: no broker, no database.
	$(BIN)/pytest -m "not integration and not acceptance"

chaos: setup ## Everything that must be survived, row by row, in an hour. make chaos SHORT=1 ROWS=1,4 SEED=7
	$(BIN)/python -m tests.chaos $(if $(SHORT),--short) $(if $(ROWS),--rows $(ROWS)) $(if $(SEED),--seed $(SEED))

crash: setup ## Kill, stop, move and starve the jobs, and judge what is left; half an hour. make crash SEED=7 plays one again.
	$(BIN)/python -m tests.crash $(if $(SEED),--seed $(SEED))

equal: setup ## Hold live against backtest against oracle, for five cuttings of the stream and shuffles of it.
	$(BIN)/python -m tests.crash.equality $(if $(SEED),--seed $(SEED))

soak: setup ## Run the whole product at half of its load for MINUTES (30), and see whether anything grows.
	$(BIN)/python -m tests.crash.soak --minutes $(or $(MINUTES),30)

bench: setup ## Measure the jobs beside Faust, Quix and Bytewax, with growth and recovery; some twenty minutes.
	$(BIN)/python tests/benchmarks/engines

bench-capacity: setup ## Measure the capacity model's coefficients, and hold it against sizes that it was not fitted on.
	$(BIN)/python tests/benchmarks/engines/capacity.py

bench-quick: setup ## The same without growth and recovery, one run each; some five minutes.
	$(BIN)/python tests/benchmarks/engines --quick --runs 1

test-decisions: setup ## Decisions: alert to first refused request, forged records, webhooks, examples, cost of a look-up.
	$(BIN)/pytest -p no:randomly -s tests/integration/test_decision_latency.py
	$(BIN)/pytest -p no:randomly tests/unit/gateway/enforcement tests/unit/test_signatures.py tests/unit/subscribers tests/integration/database/test_decisions.py tests/integration/database/test_webhooks.py tests/integration/database/test_metering.py tests/integration/test_examples.py
	$(BIN)/python -m tests.benchmarks.enforcement

test-lifecycle: setup ## Walk the life cycle of alerts for 10,000 random steps on a real Postgres.
	STILLWATCH_MACHINE_STEPS=10000 $(BIN)/pytest -q tests/integration/database/test_lifecycle_machine.py

# A network of its own that has nothing but loopback: what runs there can tell nobody anything.
ALONE = unshare $(shell [ "$$(id -u)" = 0 ] || echo --map-root-user) --net sh -c 'ip link set lo up && exec "$$@"' alone

test-gateways: setup .venv-litellm/.complete ## Gateways: real LiteLLM proxy, load with Kafka away, cost, canaries, formats.
	$(ALONE) $(BIN)/pytest -p no:randomly -s tests/gateways/litellm_proxy.py
	$(ALONE) $(BIN)/pytest -p no:randomly -s tests/gateways/asgi_load.py
	$(BIN)/python tests/benchmarks/gateway_cost.py
	$(BIN)/pytest tests/unit/gateway tests/unit/test_gateway_formats.py tests/unit/test_gateway_sources.py tests/unit/test_gateway_traces.py tests/contracts/test_gateway_privacy.py tests/unit/evaluation/test_rotation.py --cov=services.gateway.formats --cov-branch --cov-fail-under=100
	$(MAKE) test-decisions

load-gateways: setup ## The load test with Kafka away for 60 seconds.
	STILLWATCH_OUTAGE_SECONDS=60 $(ALONE) $(BIN)/pytest -p no:randomly -s tests/gateways/asgi_load.py

nightly-formats: setup ## 100,000 hostile records through the vendors' formats; some half an hour.
	STILLWATCH_FORMAT_EXAMPLES=100000 $(BIN)/pytest --timeout 7200 tests/unit/gateway/test_vendor_formats.py

.venv-litellm/.complete: deploy/litellm.lock $(STAMP)
	$(PYTHON) -m venv --clear .venv-litellm
	VIRTUAL_ENV=$(CURDIR)/.venv-litellm $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes deploy/litellm.lock
	@touch $@

bench-sketches: setup ## Measure what a sketch costs by the length of the prompt.
	$(BIN)/python tests/benchmarks/sketching.py

bench-labels: setup ## Measure what labels are worth, right, wrong and an adversary's, on ten worlds; some twenty minutes.
	$(BIN)/python -W ignore -m services.evaluation.teaching --out docs/labels.json

bench-detectors: setup ## Measure the unsupervised ensemble beside River's and rcf3's, on five labelled sets.
	$(BIN)/python tests/benchmarks/detectors

check: setup ## Lint, format, types, import contracts, dependencies.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

format: setup ## Mend what can be mended by a tool.
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

vendor: setup ## Fetch the console's libraries anew from npm, at their pinned versions.
	$(BIN)/python -m services.console.vendor

lock: $(STAMP) ## Resolve requirements.lock, and the image's share of it, anew from pyproject.toml.
	$(BIN)/uv pip compile pyproject.toml --extra server --extra embedded --extra traces --extra dev $(COMPILE) -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra server --extra traces --constraint requirements.lock $(COMPILE) -o deploy/requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra gateway --extra litellm $(COMPILE) -o deploy/litellm.lock
	echo hatchling | $(BIN)/uv pip compile - --constraint requirements.lock --no-annotate $(COMPILE) -o deploy/build.lock

audit: setup ## Ask for known vulnerabilities of the locks; DATABASE=all.zip is OSV's export, for a closed network.
	$(BIN)/python deploy/audit.py $(if $(DATABASE),--database $(DATABASE)) $(if $(OSV_URL),--osv-url $(OSV_URL))

sbom: setup ## Write the bills of materials of the locks, validated: build/sbom.json (all), build/sbom-image.json (the image).
	@mkdir -p build
	$(SBOM) -o build/sbom.json requirements.lock
	$(SBOM) -o build/sbom-image.json deploy/requirements.lock

contracts: setup ## Write the JSON Schemas and the AsyncAPI document from the record types.
	$(BIN)/python -m schemas.export

docs: setup ## Write the documentation's tables from the code.
	$(BIN)/python docs/generate.py

reset: setup ## Wipe the embedded services' data.
	$(BIN)/stillwatch reset

secrets: ## Make the secrets that docker-compose.yml mounts, once.
	deploy/make-secrets

clean: ## Remove what was built here, the environment too; the embedded data stays.
	rm -rf .venv .venv-litellm build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
