# Everything from a fresh clone: needs Python 3.11+, git and make only.
PYTHON ?= python3
VENV := .venv
ECHOSYNTH := $(VENV)/bin/echosynth
TORCH := $(shell grep -o '^torch==[0-9.]*' requirements-torch.lock)
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
# Modules are compiled when they are first used, and most never are.
INSTALL := $(PIP) install --no-compile
DEMO_PATIENTS ?= 300
DEMO_CLIPS ?= 2
DEMO_SITE ?= alder
DEMO_SEED ?= 11

.PHONY: setup test test-gpu demo pretrain bench lint clean

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock requirements-torch.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: echosynth needs Python 3.11 or later; install one and say: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "make: this Python cannot make virtual environments; on Debian: apt install python3-venv"; exit 1; }
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@if nvidia-smi >/dev/null 2>&1; then \
		$(INSTALL) -c requirements.lock '$(TORCH)'; \
	elif $(INSTALL) -c requirements.lock '$(TORCH)+cpu' 2>$(VENV)/torch-cpu.log; then :; else \
		echo "make: pip finds no CPU build of torch ($(TORCH)+cpu), so it installs the registry's default build, which is larger on Linux;"; \
		echo "make: to have the CPU build, give pip an index that holds it (PIP_EXTRA_INDEX_URL=... make setup)"; \
		$(INSTALL) -c requirements.lock '$(TORCH)'; \
	fi
	$(INSTALL) -r requirements.lock
	$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

# A process a core, a thread each, and no GPU: networks as small as the tests' gain nothing from several threads.
test: setup
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

test-gpu: setup
	$(VENV)/bin/python -m pytest tests/gpu

# Both commands go on where an interrupted one stopped.
demo: setup
	test -f studies/demo-cohort/FileList.csv || $(ECHOSYNTH) phantom studies/demo-cohort --patients $(DEMO_PATIENTS) --clips-per-patient $(DEMO_CLIPS) --seed $(DEMO_SEED) --site $(DEMO_SITE)
	$(ECHOSYNTH) run studies/demo --cohort studies/demo-cohort --preset demo

bench: setup
	$(ECHOSYNTH) bench

# The video model learns in five rounds: the third on the phantoms of the second, with guidance folded in and large steps (docs/decisions.md, "Guidance in one pass"),
# the fourth on other phantoms with windows whose ends are thrown away ("Windows with margins"), the last, of both generators, for as long as a GPU makes it cheap ("On a GPU"):
# four minutes of an H100, or four and a half hours of two cores.
AGAIN := --set init=simulated --set autoencoder.training.steps=0 --set reid.training.steps=0
VIDEO := $(AGAIN) --set image.training.steps=0 --set video.training.learning_rate=0.001 --set video.training.muon_learning_rate=0.01
SECOND := --patients 400 --seed 2025 --set video.training.steps=1000
PLAIN := --set video.network.guidance=1 --set video.shortcuts=0 --set image.shortcuts=0
SHORT := --set video.network.margin=0 --set 'video.network.bands=[1,1,1,1,1,1,2,3,5,10,38]'
STRONG := --set video.network.guidance=2

pretrain: setup
	$(ECHOSYNTH) pretrain studies/pretrain $(PLAIN) $(SHORT) --install
	$(ECHOSYNTH) pretrain studies/pretrain-2 $(SECOND) $(VIDEO) $(PLAIN) $(SHORT) --install
	$(ECHOSYNTH) pretrain studies/pretrain-3 $(SECOND) $(VIDEO) $(STRONG) $(SHORT) --install
	$(ECHOSYNTH) pretrain studies/pretrain-4 --patients 1000 --seed 2026 --set video.training.steps=1200 $(VIDEO) $(STRONG) --install
	$(ECHOSYNTH) pretrain studies/pretrain-5 --patients 1200 --clips-per-patient 1 --seed 2027 --set video.training.batch_size=64 \
		--set video.training.steps=2835 --set image.training.steps=2145 $(AGAIN) --install

lint: setup
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check --line-length 180

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info
