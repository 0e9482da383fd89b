# Everything from a fresh clone: needs Python 3.11+, git and make only.
PYTHON ?= python3
VENV := .venv
ECHOSYNTH := $(VENV)/bin/echosynth
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
# Only wheels whose hash is in a lock, so that no code of a package runs while it is installed. Modules are compiled when they are first used, and most never are.
BY_HASH := install --no-compile --require-hashes --only-binary :all:
# What makes the locks, the SBOM and the audit has an environment of its own.
TOOLS := .venv-tools
UPGRADE ?=
AUDIT ?=
DEMO_PATIENTS ?= 300
DEMO_CLIPS ?= 2
DEMO_SITE ?= alder
DEMO_SEED ?= 11

.PHONY: setup setup-runtime test test-gpu demo pretrain bench lint lock sbom pip-audit clean

setup: $(VENV)/.development

setup-runtime: $(VENV)/.runtime

# torch first and alone: its CPU build where there is no GPU and an index has it, else the default build.
$(VENV)/.runtime: requirements.lock requirements-torch.lock requirements-torch-cpu.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: echosynth needs Python 3.11 or later; install one and say: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "make: this Python cannot make virtual environments; on Debian: apt install python3-venv"; exit 1; }
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@if [ "$$(uname -s)" != Linux ] || nvidia-smi >/dev/null 2>&1; then \
		$(PIP) $(BY_HASH) --no-deps -r requirements-torch.lock; \
	elif $(PIP) $(BY_HASH) --no-deps -r requirements-torch-cpu.lock 2>$(VENV)/torch-cpu.log; then :; else \
		if grep -q 'DO NOT MATCH THE HASHES' $(VENV)/torch-cpu.log; then \
			echo "make: the CPU build of torch that pip finds is none of those in requirements-torch-cpu.lock, so it is not installed (details: $(VENV)/torch-cpu.log);"; \
			echo "make: pip installs the registry's default build, which is larger on Linux"; \
		else \
			echo "make: pip finds no CPU build of torch, so it installs the registry's default build, which is larger on Linux (details: $(VENV)/torch-cpu.log);"; \
			echo "make: to have the CPU build, give pip an index that holds it (PIP_EXTRA_INDEX_URL=... make setup)"; \
		fi; \
		$(PIP) $(BY_HASH) --no-deps -r requirements-torch.lock; \
	fi
	$(PIP) $(BY_HASH) -r requirements.lock
	$(PIP) install --no-compile --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.development: $(VENV)/.runtime requirements-dev.lock
	$(PIP) $(BY_HASH) -r requirements-dev.lock
	@touch $@

# A process a core, a thread each, and no GPU: networks as small as the tests' gain nothing from several threads.
test: setup
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

test-gpu: setup
	$(VENV)/bin/python -m pytest tests/gpu

# Both commands resume where an interrupted one stopped.
demo: setup-runtime
	test -f studies/demo-cohort/FileList.csv || $(ECHOSYNTH) phantom studies/demo-cohort --patients $(DEMO_PATIENTS) --clips-per-patient $(DEMO_CLIPS) --seed $(DEMO_SEED) --site $(DEMO_SITE)
	$(ECHOSYNTH) run studies/demo --cohort studies/demo-cohort --preset demo --audit

bench: setup-runtime
	$(ECHOSYNTH) bench

# Six rounds, and one for the reader. The video model learns in the first five: the third on the phantoms of the second, with guidance folded in and large steps taught,
# the fourth on other phantoms with windows whose ends are thrown away, the fifth and longest, of both generators, on a third set of phantoms: hours of two cores, quicker on a GPU.
# The re-identification encoder learns in the first and the sixth, there from frames that were moved in their pixels. It needs few frames a clip, so the latents are kept at four a second.
AGAIN := --set init=simulated --set autoencoder.training.steps=0 --set reid.training.steps=0 --set evaluation.training.steps=0
VIDEO := $(AGAIN) --set image.training.steps=0 --set video.training.learning_rate=0.001 --set video.training.muon_learning_rate=0.01
SECOND := --patients 400 --seed 2025 --set video.training.steps=1000
# The reader of EF learns on many patients of one clip each, longer than the regressors of an evaluation.
READER := --patients 400 --clips-per-patient 1 --seed 2028 --set init=simulated $(foreach model,autoencoder image reid video,--set $(model).training.steps=0)
PLAIN := --set video.network.guidance=1 --set video.shortcuts=0 --set image.shortcuts=0
SHORT := --set video.network.margin=0 --set 'video.network.bands=[1,1,1,1,1,1,2,3,5,10,38]'
STRONG := --set video.network.guidance=2
STILLS := --set video.fps=4 --set screen.fps=4 --set screen.frames=8 --set screen.every=1

pretrain: setup-runtime
	$(ECHOSYNTH) pretrain studies/pretrain $(PLAIN) $(SHORT) --set reid.moved=0 --set evaluation.training.steps=0 --install
	$(ECHOSYNTH) pretrain studies/pretrain-reader $(READER) --install
	$(ECHOSYNTH) pretrain studies/pretrain-2 $(SECOND) $(VIDEO) $(PLAIN) $(SHORT) --install
	$(ECHOSYNTH) pretrain studies/pretrain-3 $(SECOND) $(VIDEO) $(STRONG) $(SHORT) --install
	$(ECHOSYNTH) pretrain studies/pretrain-4 --patients 1000 --seed 2026 --set video.training.steps=1200 $(VIDEO) $(STRONG) --install
	$(ECHOSYNTH) pretrain studies/pretrain-5 --patients 1200 --clips-per-patient 1 --seed 2027 --set video.training.batch_size=64 \
		--set video.training.steps=2835 --set image.training.steps=2145 $(AGAIN) --install
	$(ECHOSYNTH) pretrain studies/pretrain-6 --patients 800 --seed 2028 --set init=simulated --set autoencoder.training.steps=0 --set image.training.steps=0 \
		--set video.training.steps=0 --set evaluation.training.steps=0 --set reid.training.steps=4000 --set reid.training.batch_size=96 $(STILLS) --install

lint: setup
	$(VENV)/bin/ruff check

# Asks the index, on Python 3.11, and takes minutes. Versions stay unless UPGRADE says otherwise: make lock UPGRADE=--upgrade, or UPGRADE='--upgrade-package NAME'.
lock: $(TOOLS)/.installed
	$(TOOLS)/bin/python supply/locks.py $(UPGRADE)

sbom: $(VENV)/.runtime $(TOOLS)/.installed
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null) $(TOOLS)/bin/python supply/sbom.py $(VENV)/bin/python sbom.json

# Two audits, because one takes a single version of a package, and the tools have versions of their own.
pip-audit: $(TOOLS)/.installed
	@failed=0; for locks in '-r requirements.lock -r requirements-torch.lock -r requirements-dev.lock' '-r requirements-tools.lock'; do \
		if $(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off $$locks $(AUDIT) 2>$(TOOLS)/audit.log; then grep '^No known' $(TOOLS)/audit.log; \
		elif grep '^Found ' $(TOOLS)/audit.log; then failed=1; \
		else echo "make: no audit could be made: $$(tail -n 1 $(TOOLS)/audit.log | cut -c 1-150) (for another: make pip-audit AUDIT='-s osv')"; exit 1; fi; \
	done; exit $$failed

$(TOOLS)/.installed: requirements-tools.lock
	$(PYTHON) -m venv --clear $(TOOLS)
	$(TOOLS)/bin/python -m pip --disable-pip-version-check $(BY_HASH) -r requirements-tools.lock
	@touch $@

clean:
	rm -rf $(VENV) $(TOOLS) sbom.json build dist *.egg-info src/*.egg-info
