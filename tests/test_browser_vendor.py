"""The vendored JavaScript is unchanged, has its licences, and our own scripts name no other host."""

import hashlib
import re
from pathlib import Path

STATIC = Path(__file__).resolve().parent.parent / "openended" / "browser" / "static"
VENDOR = STATIC / "vendor"


def test_vendored_files_are_unchanged():
    lines = (VENDOR / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {str(path.relative_to(VENDOR)) for path in VENDOR.glob("*/*")}
    assert set(sums) == files and len(files) >= 8
    for name, digest in sums.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, f"{name} has changed"


def test_every_package_has_its_licence():
    assert all((folder / "LICENSE").is_file() for folder in VENDOR.iterdir() if folder.is_dir())


def test_our_scripts_and_pages_name_no_other_host():
    own = [*STATIC.glob("*.js"), *STATIC.glob("*.css"), *(STATIC.parent / "templates").glob("*.html")]
    assert len(own) > 15
    for path in own:
        assert not re.search(r"(https?:)?//(?!www\.w3\.org)[a-z0-9-]+\.[a-z]", path.read_text()), path
        assert "innerHTML" not in path.read_text() and "eval(" not in path.read_text(), path
