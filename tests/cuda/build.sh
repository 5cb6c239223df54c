#!/usr/bin/env bash
# A CUDA that is the CPU, for programs that were built with `--features cuda`: they run on a machine without a GPU, slowly.
# The fused executor's kernels and matmuls are computed, graphs are recorded and replayed, and out-of-bounds copies, wrong
# alignments and allocations while a graph is recorded are refused. Candle's own kernels compute nothing.
#
#     tests/cuda/build.sh FOLDER PROGRAM...     # any number of programs; needs g++ and binutils
#     LD_LIBRARY_PATH=FOLDER PROGRAM segment photo.jpg --executor cuda-fused
#
# With SANITIZE=address, kernels that leave an allocation are found:
#
#     LD_PRELOAD=$(g++ -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 LD_LIBRARY_PATH=FOLDER PROGRAM …
#
# What can be set at run time is said in driver.cpp.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?where the libraries go} && shift
: "${1:?which programs need them}"
host=$(realpath "$here/../../candle-deeplab/src/exec/cuda/tests/host.h")
sanitize=${SANITIZE:+-fsanitize=$SANITIZE}
mkdir -p "$folder"

# One library has everything, under all names that the programs ask for.
options="-std=c++17 -O3 -march=native -Wall -shared -fPIC $sanitize"
compile() {
    # shellcheck disable=SC2086
    ${CXX:-g++} $options -DHOST_H="\"$host\"" -DOPTIONS="\"$sanitize\"" -o "$folder/cuda.so" \
        "$here"/{driver,cublaslt,nvrtc}.cpp "$@"
}
compile
# What else the programs need says that all is well, and does nothing.
comm -13 <(nm -D --defined-only "$folder/cuda.so" | awk '{ print $3 }' | sort -u) \
    <(nm -D --undefined-only "$@" | awk '$1 == "U" { sub("@.*", "", $2); print $2 }' | grep -E '^(cu|nvrtc|__cuda)' | sort -u) \
    | sed 's/.*/extern "C" int &() { return 0; }/' > "$folder/rest.cpp"
compile "$folder/rest.cpp"
readelf -d "$@" | sed -nE 's/.*\(NEEDED\).*\[(lib(cu|nvrtc)[^]]*)\]/\1/p' | sort -u \
    | while read -r name; do ln -sf cuda.so "$folder/$name"; done
