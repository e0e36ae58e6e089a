# make demo   build the environment, draw toy VOC, run the whole chain on boxes, write the report
# make test   build what is missing and run the tests
# make benchmark   every method on the toy, three worlds (resumable; many hours on one core)
# make soak   labelling runs killed, starved of disk and damaged until they are complete (half an hour on one core)
# make fuzz   an hour of damaged files for every reader
# make docs   the documentation as a site, in site/
#
# WHEELHOUSE=folder   take ready-made wheels (mmcv, pydensecrf) from there instead of compiling them
# JOBS=2   processes that the tests are divided among, file by file
# PYTHON=python3.11   the interpreter of the environment
PYTHON ?= python3
WHEELHOUSE ?=
JOBS ?= 2
# openmmlab, or its maintained forks: onedl. Their packages overwrite each other's files, so each has an environment.
LINEAGE := openmmlab
ifeq ($(LINEAGE),onedl)
VENV := .venv-onedl
MMCV := onedl-mmcv==2.3.6
else
VENV := .venv
MMCV := mmcv==2.1.0
endif
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet
# By file: what a file's tests prepare is prepared once.
SHARED := -n $(JOBS) --dist loadfile
FIND := $(if $(WHEELHOUSE),--find-links $(abspath $(WHEELHOUSE)))
STAMP := $(VENV)/.done

.PHONY: env env-onedl test test-onedl lint demo docs soak fuzz benchmark clean
env: $(STAMP)-package

# Each step leaves a stamp, so an interrupted set-up goes on with the step it was in.
$(STAMP)-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "error: $(PYTHON) is older than 3.10; name another: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -n "$(WHEELHOUSE)" || command -v c++ >/dev/null || \
	  { echo "error: mmcv will be compiled here and no C++ compiler (c++) is in PATH; install one, or name a folder with a" \
	         "wheel of $(MMCV): make WHEELHOUSE=folder $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@
$(STAMP)-build: $(STAMP)-venv
	@echo "environment 1/5: build tools"
	$(PIP) "setuptools<81" wheel ninja "cython<3" numpy
	@touch $@
$(STAMP)-torch: $(STAMP)-build
	@echo "environment 2/5: torch"
	$(PIP) torch==2.13.0
	@touch $@
$(STAMP)-mmcv: $(STAMP)-torch
	@echo "environment 3/5: mmcv with its ops (about 13 minutes where it is compiled; WHEELHOUSE=folder spares it)"
	MMCV_WITH_OPS=1 MAX_JOBS=$${MAX_JOBS:-2} $(PIP) $(FIND) --no-build-isolation $(MMCV)
	@touch $@
$(STAMP)-crf: $(STAMP)-build
	@echo "environment 4/5: pydensecrf"
	CYTHON_FORCE_REGEN=1 $(PIP) $(FIND) --no-build-isolation pydensecrf==1.0rc3 || \
	  echo "pydensecrf does not build here; it is optional, the CRF's default is in PyTorch"
	@touch $@
$(STAMP)-package: $(STAMP)-mmcv $(STAMP)-crf pyproject.toml
	@echo "environment 5/5: mmengine, mmseg, mmdet and this package"
	$(PIP) $(FIND) --no-build-isolation -e ".[$(LINEAGE),dev]"
	@touch $@

test: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SHARED)

env-onedl:
	$(MAKE) env LINEAGE=onedl

test-onedl: env-onedl
	OMP_NUM_THREADS=1 .venv-onedl/bin/python -m pytest $(SHARED) $$(sed 's/#.*//' tests/lineage.txt)

lint: env
	$(BIN)/ruff check .
	$(BIN)/mypy wsss_mm

# One thread: the toy's networks are small, and two threads beside another busy process are many times slower.
demo: env
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python tools/train.py configs/bap/deeplabv2_toy.py

# An environment of its own: the site reads pages and docstrings and imports nothing of the package.
docs: .venv-docs/.done
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo "open site/index.html; for the search: $(PYTHON) -m http.server --directory site"
.venv-docs/.done: docs/requirements.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip --disable-pip-version-check install --quiet -r docs/requirements.txt
	@touch $@

benchmark: env
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/all_methods.py

# Each start of the tool is a real one, with its imports; one thread per process.
soak: env
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/soak.py

fuzz: env
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fuzz_readers.py --minutes 60 --report benchmarks/results/fuzz_readers.md

clean:
	rm -rf work_dirs data build *.egg-info
