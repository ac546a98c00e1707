# docker build -t fetalbench .                        CPU
# docker build -t fetalbench --build-arg GPU=1 .      CUDA: the libraries come with the frameworks
# The commands are those of the Makefile; docs/reproduction.md tells how to run the image.
FROM python:3.11-slim-bookworm
ARG GPU=0
# Unset for the plain index, see the README.
ARG TORCH_INDEX=
# git since records name the commit; a C++ compiler for torch.compile.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 bench
USER 1000
WORKDIR /home/bench/fetalbench
COPY --chown=bench:bench . .
RUN make install GPU=$GPU TORCH_INDEX=$TORCH_INDEX
# The driver of the host is mounted by NVIDIA's container toolkit; utility brings NVML.
ENV GPU=$GPU \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD ["make", "reproduce"]
