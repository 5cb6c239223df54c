# What developers run often; `just` lists it.

_default:
    @just --list

# Everything CI checks
check:
    bash .ci/run

# The fast tests: one crate, e.g. `just test candle-deeplab`
test crate:
    cargo test -p {{crate}}

# Format and apply clippy's suggestions
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty

# Segment a photograph, e.g. `just segment photo.jpg deeplabv3plus-xception65-voc`
segment image model:
    cargo run --release -- segment {{image}} --model {{model}}

# Licences, sources and known advisories of the dependencies (needs `cargo install cargo-deny`)
deny:
    cargo deny --workspace check
