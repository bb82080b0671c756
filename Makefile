# Every target installs what it needs (tools/prepare); run as root on Debian 12.
VENV = $(shell tools/prepare | tail -n 1)
PYTHON = $(VENV)/bin/python
SCENARIO ?=

.PHONY: help demo check lint unit vm vm-list check-all crash-replay fuzz bench clean updates.img product.img rpm image-rpm demo-iso iso pxe-tree install pot check-anaconda

help: ## show this
	@sed -n 's/^\([a-z. -]*\):.*## /\1: /p' $(MAKEFILE_LIST)

demo: ## build the demo image, install it in a virtual machine, boot it and look at it
	$(PYTHON) -m tests.vm demo

check: lint unit ## linters, types, unit tests, the core virtual machine scenarios, and power cuts in an update
	$(PYTHON) -m tests.vm core
	$(PYTHON) -m tests.crash short

lint: ## ruff, mypy, bandit, shellcheck
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m bandit -q -c pyproject.toml -r org_ovirt_node
	shellcheck -x tools/prepare .ci/run $$(git grep -lE '^#!/bin/(ba)?sh' -- data)

unit: ## unit tests
	$(PYTHON) -m pytest

vm: ## one scenario: make vm SCENARIO=install-bios
	$(PYTHON) -m tests.vm run $(SCENARIO)

vm-list: ## the scenarios
	@$(PYTHON) -m tests.vm list

check-all: lint unit ## every scenario, resuming where it stopped; ONLY='install-*' for some
	$(PYTHON) -m tests.vm all --resume --only '$(or $(ONLY),*)'

crash-replay: ## power cuts: every cut of the recordings, resuming where it stopped; CRASH='--seed 1 --boots 10'
	$(PYTHON) -m tests.crash replay $(CRASH)

fuzz: ## hostile input for ten minutes; FUZZ='--seconds 3600 --seed 1 manifest' for another time, seed, target
	-$(PYTHON) -m pip install --quiet --disable-pip-version-check --only-binary :all: atheris
	$(PYTHON) -m tests.fuzz $(FUZZ)

bench: ## the transfer against dd, rsync and unsquashfs: a table, build/bench.json and a chart
	$(PYTHON) -m tests.bench

updates.img product.img: ## the add-on for an existing boot.iso of Anaconda
	$(PYTHON) -m org_ovirt_node.image.delivery $@ build/$@

rpm: ## the project's RPMs, in build/rpm: make rpm SITELIB=/usr/lib/python3.12/site-packages
	$(PYTHON) -m org_ovirt_node.image.rpms build build/rpm $(if $(SITELIB),--sitelib $(SITELIB))

demo-iso: ## an installer ISO of the demo image, in build/iso: make demo-iso [IMAGE=node-1.0-1.squashfs] [KS=FILE]
	$(PYTHON) -m org_ovirt_node.media.demo build/iso $(if $(IMAGE),"$(IMAGE)") $(if $(KS),--kickstart "$(KS)")

iso: ## an ISO from a distribution's, in build/iso: make iso BOOT_ISO=boot.iso IMAGE=node-1.0-1.squashfs [KS=FILE]
	@test -n "$(BOOT_ISO)" -a -n "$(IMAGE)" || { echo "iso: a distribution's boot.iso and an image have to be named: make iso BOOT_ISO=FILE IMAGE=FILE [KS=FILE]" >&2; exit 2; }
	$(PYTHON) -m org_ovirt_node.cli.image derive "$(BOOT_ISO)" "$(IMAGE)" $(if $(KS),--kickstart "$(KS)") \
		--output "build/iso/$(basename $(notdir $(IMAGE))).iso" --replace

image-rpm: ## an update RPM of an image, in build/rpm: make image-rpm IMAGE=node-1.0-1.squashfs
	@test -n "$(IMAGE)" || { echo "image-rpm: no image is named: make image-rpm IMAGE=FILE" >&2; exit 2; }
	$(PYTHON) -m org_ovirt_node.cli.image rpm "$(IMAGE)" --output build/rpm

pxe-tree: ## what machines install themselves from: make pxe-tree OUT=DIR IMAGE=FILE URL=http://HOST/PATH [KS=FILE]
	@test -n "$(OUT)" -a -n "$(IMAGE)" -a -n "$(URL)" || { echo "pxe-tree: folder, image and address have to be named: make pxe-tree OUT=DIR IMAGE=FILE URL=http://HOST/PATH" >&2; exit 2; }
	$(PYTHON) -m org_ovirt_node.cli.image pxe "$(IMAGE)" --output "$(OUT)" --url "$(URL)" $(if $(KS),--kickstart "$(KS)")

install: ## the add-on into DESTDIR
	$(PYTHON) -m org_ovirt_node.image.delivery install $(DESTDIR)

pot: ## the template for translations
	$(PYTHON) tools/pot.py

check-anaconda: ## the add-on in the real Anaconda: make check-anaconda ANACONDA_ROOT=/path/to/root-tree
	$(PYTHON) -m tests.anaconda all --root $(ANACONDA_ROOT)

clean: ## remove what was built here (the cache stays)
	rm -rf build
