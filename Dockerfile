# The product's images, one target each. Packages come from the locks (with hashes) in a layer of their own, so that a
# change of code costs a copy. All run as user 65532 and need only /tmp to be writable.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS base
# Does nothing where the base image has them already.
RUN python3 -c "import ensurepip, venv, ctypes; ctypes.CDLL('libgomp.so.1')" 2>/dev/null || ( \
      apt-get update && \
      apt-get install -y --no-install-recommends python3 python3-venv ca-certificates libgomp1 libstdc++6 && \
      rm -rf /var/lib/apt/lists/* )
ENV PATH=/opt/llmops/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app
COPY images/install-packages /usr/local/bin/install-packages
COPY images/llmops /usr/local/bin/llmops
WORKDIR /tmp

FROM base AS code
COPY operator/llmops /app/llmops
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /app

FROM base AS operator
COPY locks/operator.txt /opt/packages.txt
RUN install-packages
USER 65532:65532
ENTRYPOINT ["llmops"]
COPY --from=code /app /app

FROM base AS evaluate
COPY locks/evaluate.txt /opt/packages.txt
RUN install-packages
USER 65532:65532
ENTRYPOINT ["llmops"]
COPY --from=code /app /app

# The lock is complete, and pip 23 does not find a package in it that is asked for with an extra and without.
FROM base AS benchmark
COPY locks/benchmark.txt /opt/packages.txt
RUN python3 -m venv /opt/llmops && \
    /opt/llmops/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
      -r /opt/packages.txt && \
    /opt/llmops/bin/pip check && \
    rm -rf /opt/llmops/lib/python3*/site-packages/pip /opt/llmops/lib/python3*/site-packages/pip-*
ENV HF_HOME=/tmp/hf HF_HUB_DISABLE_TELEMETRY=1
USER 65532:65532
ENTRYPOINT ["llmops"]
COPY --from=code /app /app

FROM base AS retrieval
COPY locks/retrieval.txt /opt/packages.txt
RUN install-packages
USER 65532:65532
ENTRYPOINT ["llmops"]
COPY --from=code /app /app

FROM base AS milvus-lite
COPY locks/milvus-lite.txt /opt/packages.txt
RUN install-packages
USER 65532:65532
STOPSIGNAL SIGINT
EXPOSE 19530
ENTRYPOINT ["milvus-lite"]

# A real Milvus server for tests, from a package; in production it is Milvus's own image (LLMOPS_IMAGE_MILVUS).
FROM base AS milvus-unpacked
COPY locks/milvus.txt /opt/packages.txt
COPY images/milvus/unpack.py /opt/unpack.py
RUN install-packages && python /opt/unpack.py /opt/milvus

FROM base AS milvus
COPY --from=milvus-unpacked /opt/milvus /opt/milvus
ENV PATH=/opt/milvus/bin:$PATH LD_LIBRARY_PATH=/opt/milvus/bin MILVUSCONF=/opt/milvus/configs
USER 65532:65532
EXPOSE 19530 9091

FROM base AS llamacpp
COPY locks/llamacpp.txt /opt/packages.txt
RUN install-packages
COPY images/llamacpp /app
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["python", "/app/serve.py"]

# A bento of ours: the same engine as BentoML serves it.
FROM base AS bentoml
COPY locks/bentoml.txt /opt/packages.txt
RUN install-packages
COPY images/bentoml /app
ENV BENTOML_HOME=/tmp/bentoml BENTOML_DO_NOT_TRACK=True
USER 65532:65532
EXPOSE 3000
ENTRYPOINT ["/app/serve"]

# OpenLLM in an environment of its own (it pins another BentoML), with a local model repository that has our bento in
# it, and the bento's environment: nothing is cloned or installed when it starts.
FROM bentoml AS openllm
USER 0
COPY locks/openllm.txt /opt/packages-openllm.txt
RUN python3 -m venv /opt/openllm && \
    /opt/openllm/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
      -r /opt/packages-openllm.txt
ENV OPENLLM_HOME=/opt/openllm/home OPENLLM_TEST_REPO=/opt/repository OPENLLM_BENTO=llamacpp:gguf OPENLLM_DO_NOT_TRACK=True
COPY images/openllm /opt/openllm/image
RUN cd /opt/openllm/image && cp /app/service.py . && cp /opt/packages.txt requirements.txt && \
    PATH=$PATH:/opt/openllm/bin BENTOML_HOME=/opt/repository/bentoml bentoml build --version gguf . && \
    /opt/openllm/bin/python prepare.py llamacpp:gguf /opt/llmops && \
    chmod -R a+rX /opt/repository /opt/openllm/home
USER 65532:65532
ENTRYPOINT ["/opt/openllm/image/serve"]

FROM bentoml AS demo-bento
COPY build/models /models

# The demo's and the tests' tiny models, in an image that an LLMService with file:///models/... runs as it is.
FROM llamacpp AS demo-models
COPY build/models /models

FROM openllm AS demo-openllm
COPY build/models /models
