# make demo   a whole mesh on this machine, then cleaned up        make test   lint, types and all tests
# make bench-NAME [JSON=1]   benchmarks/NAME beside its peer       make lint | types | wheel | clean
# What is missing (a .venv, Debian packages) is installed first: see scripts/setup.

.PHONY: demo test lint types wheel clean

demo:
	@scripts/setup demo
	@.venv/bin/ghostwire demo

test:
	@scripts/setup test
	@scripts/test

lint:
	@scripts/setup test
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

types:
	@scripts/setup test
	@.venv/bin/mypy

wheel:
	@scripts/setup test
	@.venv/bin/python -m build --no-isolation --outdir dist .

bench-%:
	@scripts/setup test
	@scripts/bench $* $(if $(JSON),--json)

clean:
	rm -rf .venv .venv-3.* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
