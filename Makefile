# Each target is a script in scripts/; see CONTRIBUTING.md.

.PHONY: help setup lint test bench fuzz soak demo docs image clean

help:
	@echo 'make setup   install system packages and the virtual environment .venv'
	@echo 'make demo    trace live packets between two namespaces'
	@echo 'make lint    ruff and mypy'
	@echo 'make test    lint, then all tests, other kernels in QEMU included'
	@echo 'make image   build the container image, where podman or docker runs'
	@echo 'make bench   capture, cost in the kernel, decoding, start-up, post-processing'
	@echo 'make docs    the documentation as a site in build/site, and the manual pages'
	@echo 'make fuzz    damaged and hostile input for everything that reads (FUZZ_SECONDS=600)'
	@echo 'make soak    collect for long under varying load: nothing grows (SOAK_SECONDS=1800)'
	@echo 'make clean   remove what make made'

setup:
	@scripts/setup.sh

lint: setup
	@scripts/lint.sh

test:
	@scripts/test.sh

bench: setup
	@scripts/bench.sh

fuzz: setup
	@scripts/fuzz.sh

soak: setup
	@scripts/soak.sh

demo: setup
	@scripts/demo.sh

image: setup
	@scripts/image.sh

docs: setup
	@scripts/docs.sh

clean:
	rm -f retis_py/_compiled.so
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz dist build retis.data*
	find bench retis_py tests -name __pycache__ -prune -exec rm -rf {} +
