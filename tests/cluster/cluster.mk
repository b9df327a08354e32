# The cluster of the tests and the demo (tests/cluster), by plain Python: it runs before any virtual environment exists.
CLUSTER ?= auto
KIT := python3 -m tests.cluster

.PHONY: cluster-up cluster-down cluster-status images

cluster-up: ## A real Kubernetes: yours (CLUSTER=current), kind, or a node of our own
	@$(KIT) up --cluster=$(CLUSTER)

cluster-down: ## Take it away again, whole
	@$(KIT) down --cluster=$(CLUSTER)

cluster-status: ## What of it runs
	@$(KIT) status --cluster=$(CLUSTER)

images: build/models/minilm.gguf ## Build the Dockerfile's targets and load them into the cluster (only what changed)
	@$(KIT) load $(TARGETS) --cluster=$(CLUSTER)
