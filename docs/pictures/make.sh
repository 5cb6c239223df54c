#!/usr/bin/env bash
# Makes the README's pictures of examples/photos/astronaut.jpg with the program of this checkout. It needs ffmpeg, for
# small JPEG and WebP files.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
program=(${PROGRAM:-cargo run --quiet --release --})

"${program[@]}" segment examples/photos/astronaut.jpg --model bundled --quiet -o "$work/" \
    --format overlay,contours --picture-format png --cutout person
to() { ffmpeg -v error -y -i "$1" -vf scale=360:-1 "${@:3}" "docs/pictures/$2"; }
to examples/photos/astronaut.jpg photo.jpg -q:v 4
to "$work/astronaut.overlay.png" overlay.jpg -q:v 4
to "$work/astronaut.contours.png" contours.jpg -q:v 4
to "$work/astronaut.cutout.png" cutout.webp -quality 80
