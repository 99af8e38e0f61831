# `make run`: the whole road on bundled molecules. `make test`: the tests. Both set up .venv first.
PYTHON ?= python3.11
BIN := .venv/bin
export MPLBACKEND := Agg

.PHONY: run test lint slow clean

.venv/ready: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@

runs/quick/store.h5: .venv/ready datasets/qm9_3000.sdf.gz pyg_diffusion/data/store.py
	mkdir -p runs/quick
	$(BIN)/pyg-diffusion prepare datasets/qm9_3000.sdf.gz -o $@

# Train on 3,000 QM9 molecules, sample 20 that are not among them, score them beside ETKDGv3, draw. Few draws of a model of four
# minutes pass the gate: each is written as it is, with its faults, so that the table shows the model.
run: runs/quick/store.h5
	rm -rf runs/quick/train
	$(BIN)/pyg-diffusion train configs/quick.yaml data.store=runs/quick/store.h5 -o runs/quick/train
	$(BIN)/pyg-diffusion sample datasets/qm9_ensembles_20.sdf.gz -n 2x --seed 0 --weights runs/quick/train --attempts 1 --unsound keep \
		--report runs/quick/sampling.json -o runs/quick/generated.sdf
	$(BIN)/pyg-diffusion evaluate runs/quick/generated.sdf datasets/qm9_ensembles_20.sdf.gz --etkdg \
		--report runs/quick/sampling.json -o runs/quick/result.json > runs/quick/table.txt
	@cat runs/quick/table.txt
	$(BIN)/pyg-diffusion plot runs/quick/train -o runs/quick/training.png
	$(BIN)/pyg-diffusion plot runs/quick/result.json -o runs/quick/result.png \
		--generated runs/quick/generated.sdf --reference datasets/qm9_ensembles_20.sdf.gz
	@echo
	@echo "conformers: runs/quick/generated.sdf"
	@echo "table:      runs/quick/table.txt (every figure: runs/quick/result.json)"
	@echo "pictures:   runs/quick/result.png, runs/quick/training.png"

# Two at a time and more, each on one thread.
test: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

slow: .venv/ready
	$(BIN)/python -m pytest -m slow

# The site, in site/; a broken link or reference is an error. `make docs` first writes what is made of the parser.
.PHONY: docs
docs: .venv/ready
	$(BIN)/python docs/command_line.py
	$(BIN)/mkdocs build --strict --quiet

# The browser that the tests of pages need, where the system has none.
.PHONY: browser
browser: .venv/ready
	$(BIN)/playwright install --with-deps chromium

# The sdist and the wheel, in dist/, and whether the package index would take them.
.PHONY: dist
dist: .venv/ready
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/twine check --strict dist/*

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
