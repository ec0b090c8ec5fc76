.PHONY: check up down health

check: ## the same command as CI
	./scripts/test.sh

up:
	./scripts/runtime-up.sh

down:
	./scripts/runtime-down.sh

health:
	./scripts/runtime-health-check.sh
