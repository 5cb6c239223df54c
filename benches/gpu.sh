#!/usr/bin/env bash
# Everything that only a GPU can tell, in one command and under 8 minutes: parity with the goldens, compute-sanitizer, the
# peers' table, a profile. It builds nothing. Build these before, on any machine (docs/cuda.md):
#
#     cargo build --release --features cuda
#     cargo test --release -p weights-convert --features cuda --no-run --test parity_cuda
#
#     benches/gpu.sh [OUT]        results go into the folder OUT (default: gpu-results)
#
# Each part has a time limit of its own and leaves its log; one that fails or is missing does not stop the others, and what
# does not fit into the 8 minutes any more is left out. The exit code is that of the parity tests and of the sanitizer.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-gpu-results}
program=${PROGRAM:-target/release/candle-deeplab}
parity=${PARITY:-$(ls -t target/release/deps/parity_cuda-* 2> /dev/null | grep -v '\.d$' | head -1)}
python=${PYTHON:-python3}
mkdir -p "$out/models"
failed=0
# Seconds for everything.
budget=470

# CUDA's libraries, where they came as wheels for Python and the loader does not know them.
wheels=$("$python" - 2> /dev/null << 'END'
import glob, os, sysconfig
print(":".join(sorted({os.path.dirname(path) for path in glob.glob(sysconfig.get_paths()["purelib"] + "/nvidia/**/*.so*", recursive=True)})))
END
)
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$wheels
export DEEPLAB_SHARED=${DEEPLAB_SHARED:-$(realpath -m ../shared)}
export PARITY_MODELS=$(realpath "$out/models")
# Nothing is fetched, and the machine may have no network.
export HF_HUB_OFFLINE=1
# What tests leave out for want of goldens.
export SKIPPED_TESTS=$(realpath -m "$out/skipped")
rm -f "$SKIPPED_TESTS"

say() { printf '\n== %s\n' "$*"; }

# part NAME SECONDS COMMAND…: runs a part, shows the end of its log, and returns its exit code.
part() {
    local name=$1 limit=$2 start=$SECONDS code
    shift 2
    [ "$limit" -le $((budget - start)) ] || limit=$((budget - start))
    if [ "$limit" -le 3 ]; then
        say "$name: left out, the time is up"
        return 124
    fi
    say "$name (at most $limit s)"
    timeout --kill-after=5 "$limit" "$@" > "$out/$name.log" 2>&1
    code=$?
    tail -n 25 "$out/$name.log"
    echo "-- $name: exit code $code after $((SECONDS - start)) s"
    return "$code"
}

say "machine"
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv | tee "$out/machine.txt"
if ! "$program" doctor | tee -a "$out/machine.txt"; then
    echo "\`$program\` does not start: build it with --features cuda, and see docs/cuda.md for the libraries it needs"
    exit 2
fi

# 1. Parity. The networks stay in OUT/models for the parts below.
if [ -n "$parity" ]; then
    CANDLE_DEEPLAB_CUDA_DEPTHWISE=1 part parity 150 "$parity" --ignored --nocapture --test-threads=1 || failed=1
    if [ -s "$SKIPPED_TESTS" ]; then
        cat "$SKIPPED_TESTS"
        echo "the goldens are missing: carry them, and name their folder in DEEPLAB_SHARED"
        failed=1
    fi
else
    echo "no parity test: build it with the second command above"
    failed=1
fi

# 2. compute-sanitizer: one pass of each network, as launches, since the tools cannot see into a graph. A small input, as
# everything is slower by far.
networks=(bundled)
for name in xception65_voc_os16 resnet101beta_voc_os16; do
    [ -d "$out/models/$name" ] && networks+=("$out/models/$name")
done
if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck; do
        for network in "${networks[@]}"; do
            CANDLE_DEEPLAB_NO_CUDA_GRAPHS=1 part "$tool-$(basename "$network")" 15 \
                compute-sanitizer --tool "$tool" --error-exitcode 9 \
                "$program" bench --model "$network" --device cuda --executor cuda-fused --dtype bf16 --size 97x65 --runs 1 \
                || failed=1
        done
    done
else
    echo "compute-sanitizer is missing (it is part of the CUDA toolkit)"
fi

# 3. The peers' table: what is most worth knowing first. Compiling takes torch longest.
if "$python" -c 'import torch' 2> /dev/null; then
    for network in "${networks[@]:1}"; do
        name=$(basename "$network")
        for batch in 16 1; do
            part "peers-$name-513-batch$batch" 40 "$python" benches/peers/bench.py --program "$program" --weights "$network" \
                --device cuda --dtype bf16 --batch "$batch" --size 513x513 --runs 20 --rounds 1 --agreement 0.9 \
                --peers "torch eager,torch channels-last,torch compiled" --json "$out/peers-$name-513-batch$batch.json"
        done
    done
    part peers-1024x2048 30 "$python" benches/peers/bench.py --program "$program" --weights "${networks[-1]}" --device cuda \
        --dtype bf16 --batch 1 --size 1024x2048 --runs 10 --rounds 1 --agreement 0.9 --peers "torch channels-last"
else
    echo "torch is missing: only our own figures"
    for network in "${networks[@]}"; do
        for batch in 1 16; do
            part "bench-$(basename "$network")-batch$batch" 20 "$program" bench --model "$network" --device cuda \
                --executor cuda-fused --dtype bf16 --size 513x513 --batch "$batch" --json
        done
    done
fi

# 4. A folder of photographs end to end, and a profile.
mkdir -p "$out/photos"
for number in $(seq 64); do cp examples/photos/cat.jpg "$out/photos/$number.jpg"; done
part folder 15 "$program" segment "$out/photos" -o "$out/masks" --format mask --force --device cuda --executor cuda-fused \
    --dtype bf16
if command -v nsys > /dev/null; then
    part profile 25 nsys profile --force-overwrite true --cuda-graph-trace=node --stats=true -o "$out/profile" \
        "$program" bench --model "${networks[-1]}" --device cuda --executor cuda-fused --dtype bf16 --batch 16 --size 513x513 \
        --runs 10
else
    echo "nsys is missing: no profile"
fi
say "done after $SECONDS s, results in $out"
exit "$failed"
