#!/bin/sh
# Writes every lock anew from pyproject.toml and the engine images' own inputs (needs pip-tools).
set -eu
cd "$(dirname "$0")/.."
compile() {
  out=$1; shift
  pip-compile -q --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
    --no-header --strip-extras --allow-unsafe -o "locks/$out.txt" "$@"
}
compile operator pyproject.toml
compile evaluate --extra evaluate pyproject.toml
compile benchmark --extra benchmark pyproject.toml
compile retrieval --extra retrieval pyproject.toml
compile dev --extra dev --extra evaluate --extra retrieval pyproject.toml
compile llamacpp locks/llamacpp.in
compile bentoml locks/bentoml.in
compile milvus-lite locks/milvus-lite.in
compile milvus locks/milvus.in
compile openllm locks/openllm.in
