# The commands of the README and of .ci/run, by name.
.PHONY: setup check test soak bench demo

setup:
	python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e '.[dev]'

check:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy --strict edged

test:
	.venv/bin/pytest

soak:
	.venv/bin/pytest -m soak --timeout 14400

bench:
	.venv/bin/edged bench

demo:
	.venv/bin/edged demo
