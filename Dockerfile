# mdcompress with torch for the CPU. The run's folder is the one mounted at /work; its files belong to who starts it:
#   docker build -t mdcompress .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" mdcompress run --recipe 4bit
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:${PYTHON}-slim
# a C compiler: native code is the fourth witness of parity
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
# torch without CUDA, which takes 4 GB more; for a GPU, its index of that CUDA release
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir torch torchvision --index-url "${TORCH_INDEX}"
COPY --from=wheel /wheel /wheel
RUN pip install --no-cache-dir /wheel/*.whl && rm -r /wheel
# a home that any user may write: caches of compiled code and of fonts stand there
RUN useradd --create-home user && mkdir /work && chown user /work && chmod 1777 /home/user
ENV HOME=/home/user USER=user
USER user
WORKDIR /work
ENTRYPOINT ["mdcompress"]
CMD ["--help"]
