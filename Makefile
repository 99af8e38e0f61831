# `make run`: the main job on bundled molecules; `make train`: the whole road. `make test`: the tests. All set up .venv first.
PYTHON ?= python3.11
BIN := .venv/bin
export MPLBACKEND := Agg

.PHONY: run train test lint slow clean

.venv/ready: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt 'setuptools>=77' wheel
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@

runs/quick/store.h5: .venv/ready datasets/qm9_3000.sdf.gz pyg_diffusion/data/store.py
	mkdir -p runs/quick
	$(BIN)/pyg-diffusion prepare datasets/qm9_3000.sdf.gz -o $@

# The main job with the shipped weights: conformers of 20 molecules that are in no training data, scored beside ETKDGv3 and ETKDGv3 with MMFF94s
# against the ensembles they are known by, as table, picture and page. What `make train` made is a column of it.
TRAINED := runs/quick/trained.sdf
run: .venv/ready
	mkdir -p runs/quick
	$(BIN)/pyg-diffusion sample datasets/qm9_ensembles_20.sdf.gz -n 2x --seed 0 --report runs/quick/sampling.json -o runs/quick/conformers.sdf
	$(BIN)/pyg-diffusion evaluate runs/quick/conformers.sdf datasets/qm9_ensembles_20.sdf.gz --etkdg --mmff \
		$(if $(wildcard $(TRAINED)),--beside "4 minutes"=$(TRAINED)) \
		--report runs/quick/sampling.json -o runs/quick/result.json > runs/quick/table.txt
	@cat runs/quick/table.txt
	$(BIN)/pyg-diffusion plot runs/quick/result.json -o runs/quick/result.png \
		--generated runs/quick/conformers.sdf --reference datasets/qm9_ensembles_20.sdf.gz
	$(BIN)/pyg-diffusion view runs/quick/conformers.sdf -o runs/quick/conformers.html
	@echo
	@echo "conformers: runs/quick/conformers.sdf"
	@echo "table:      runs/quick/table.txt (every figure: runs/quick/result.json)"
	@echo "picture:    runs/quick/result.png"
	@echo "page:       runs/quick/conformers.html (open it in a browser)"

# Train on 3,000 other QM9 molecules for four minutes, and put what that makes into the table of `make run`. Few draws of such a model pass the gate: each
# is written as it is, with its faults, so that the table shows the model.
train: runs/quick/store.h5
	rm -rf runs/quick/train $(TRAINED)
	$(BIN)/pyg-diffusion train configs/quick.yaml data.store=runs/quick/store.h5 -o runs/quick/train
	$(BIN)/pyg-diffusion plot runs/quick/train -o runs/quick/training.png
	$(BIN)/pyg-diffusion sample datasets/qm9_ensembles_20.sdf.gz -n 2x --seed 0 --weights runs/quick/train --attempts 1 --unsound keep -o $(TRAINED)
	$(MAKE) run

# Two at a time and more, each on one thread.
test: .venv/ready browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

# The same, and what of the package they run: fails where a room falls below its floor, else writes the table of docs/results/parts.md.
.PHONY: coverage
coverage: .venv/ready browser
	mkdir -p runs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal --cov --cov-report=json:runs/coverage.json --cov-report=
	$(BIN)/python benchmarks/covered.py runs/coverage.json
	$(BIN)/python docs/results.py

slow: .venv/ready browser builder
	$(BIN)/python -m pytest -m slow

# The site, in site/; a broken link or reference is an error. `make docs` first writes what is made of the parser.
.PHONY: docs
docs: .venv/ready
	$(BIN)/python docs/command_line.py
	$(BIN)/mkdocs build --strict --quiet

# The browser that the tests of pages need, where there is none and root has apt-get; without it they skip, or fail where CI is true.
.PHONY: browser
browser:
	@command -v chromium google-chrome > /dev/null || { test "$$(id -u)" = 0 && command -v apt-get > /dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium > /dev/null; } || \
		echo "no chromium: the tests of pages need one (apt-get install chromium)"

# What the test of the image needs, likewise.
.PHONY: builder
builder:
	@command -v podman > /dev/null || { test "$$(id -u)" = 0 && command -v apt-get > /dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends podman runc mmdebstrap > /dev/null; } || \
		echo "no podman: the test of the image needs one (apt-get install podman)"

# The sdist and the wheel, in dist/, and whether the package index would take them.
.PHONY: dist
dist: .venv/ready
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/twine check --strict dist/*

# Wheel and sdist in a bare environment of each Python, with the newest and the lowest versions allowed: installed, measured, used. One Python alone, with
# extras: CHECK="--python python3.12 --extras train plot".
.PHONY: install-check
install-check: dist
	$(BIN)/python benchmarks/install.py dist $(CHECK)

# torch-scatter, compiled for the torch of .venv into runs/scatter, where nothing else sees it; layers with and without it: results, gradients, times.
.PHONY: scatter
SCATTER := runs/scatter
$(SCATTER)/torch_scatter: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation --no-deps --upgrade --target $(SCATTER) torch-scatter
scatter: export PYTHONPATH := $(SCATTER)
scatter: export OMP_NUM_THREADS := 1
scatter: $(SCATTER)/torch_scatter
	$(BIN)/python -c "import torch_scatter"
	$(BIN)/python -m pytest tests/nn/test_torch_scatter.py
	$(BIN)/python benchmarks/scatter.py

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# N damaged files of every kind through every reader; SEED=1 draws others (tests/fuzz/fuzz.py --help says more).
.PHONY: fuzz
N ?= 1000
SEED ?= 0
fuzz: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/fuzz.py $(N) --seed $(SEED)

clean:
	rm -rf runs/quick build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache

# The batch script on a one-node Slurm, killed twice (root, Debian); RECIPE="configs/x.yaml section.key=value ..." for another.
.PHONY: slurm
slurm: .venv/ready
	slurm/prove.sh $(RECIPE)

# Execute every notebook of docs/notebooks; an error in one is an error.
.PHONY: notebooks
notebooks: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow or not slow" tests/test_notebooks.py
