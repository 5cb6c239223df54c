"""The wheel holds the licences of what is in it, as they are in the repository."""

from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]
ORIGINALS = {
    "LICENSE-MIT": "LICENSE-MIT",
    "LICENSE-APACHE": "LICENSE-APACHE",
    "LICENSE-model": "candle-deeplab/assets/bundled/LICENSE",
    "LICENSE-OFL-font.txt": "candle-deeplab/assets/font/OFL.txt",
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_licence_is_a_copy(name: str) -> None:
    assert (PACKAGE / "licenses" / name).read_bytes() == (PACKAGE.parent / ORIGINALS[name]).read_bytes()


def test_all_licences_are_copies() -> None:
    assert {file.name for file in (PACKAGE / "licenses").iterdir()} == ORIGINALS.keys()
