# Each target is a script in scripts/; see CONTRIBUTING.md.

.PHONY: help setup lint test bench demo docs clean

help:
	@echo 'make setup   install system packages and the virtual environment .venv'
	@echo 'make demo    trace live packets between two namespaces'
	@echo 'make lint    ruff and mypy'
	@echo 'make test    lint, then all tests, other kernels in QEMU included'
	@echo 'make bench   capture, cost in the kernel, decoding, start-up, post-processing'
	@echo 'make docs    the documentation as a site in build/site, and the manual pages'
	@echo 'make clean   remove what make made'

setup:
	@scripts/setup.sh

lint: setup
	@scripts/lint.sh

test:
	@scripts/test.sh

bench: setup
	@scripts/bench.sh

demo: setup
	@scripts/demo.sh

docs: setup
	@scripts/docs.sh

clean:
	rm -f retis_py/_compiled.so
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build retis.data*
	find bench retis_py tests -name __pycache__ -prune -exec rm -rf {} +
