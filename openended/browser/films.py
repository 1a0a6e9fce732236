"""A replay to take along: an animated GIF, or one HTML file that plays without a server and without internet."""

from __future__ import annotations

import base64
import html
import tempfile
from pathlib import Path
from typing import Any

from envs.spec import sentence
from openended.browser.frames import encode

STATIC = Path(__file__).resolve().parent / "static"
_MODULES = {  # name by which it is imported -> file
    "three": "vendor/three/three.module.js",
    "three.core": "vendor/three/three.core.js",
    "orbit": "vendor/three/OrbitControls.js",
    "scene": "scene.js",
    "flat": "flat.js",
    "film": "film.js",
    "player": "player.js",
}
_RENAMED = {  # how the files name each other when they are served
    "'./three.core.js'": "'three.core'",
    '"./vendor/three/OrbitControls.js"': '"orbit"',
    '"./scene.js"': '"scene"',
    '"./flat.js"': '"flat"',
    '"./film.js"': '"film"',
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><title>{title}</title><style>{style}</style>
<script type="importmap">{{"imports": {{{imports}}}}}</script></head>
<body class="alone"><main><h1>{title}</h1><p>{words}</p><div id="player"></div></main>
<script type="application/octet-stream" id="film">{film}</script>
<script type="module">import {{ Player }} from "player"; import {{ parse }} from "film";
const bytes = Uint8Array.from(atob(document.getElementById("film").textContent), (c) => c.charCodeAt(0));
window.player = new Player(document.getElementById("player"));
window.player.show(parse(bytes.buffer));</script></body></html>
"""


def gif(replay: dict[str, Any]) -> bytes:
    """Every episode as an animated GIF, as `openended replay --gif` draws it."""
    from envs import render

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "replay.gif"
        render.save_animation(replay, path)
        return path.read_bytes()


def page(replay: dict[str, Any]) -> str:
    """One HTML file with the player, three.js and the frames inside."""
    imports = ", ".join(f'"{name}": "{_inline(path)}"' for name, path in _MODULES.items())
    return _PAGE.format(
        title=html.escape(f"{replay['task']}: {replay['learner']}"),
        words=html.escape(sentence(replay["description"])),
        style=(STATIC / "style.css").read_text(encoding="utf-8").replace("</", "<\\/"),
        imports=imports,
        film=base64.b64encode(b"".join(encode(replay))).decode(),
    )


def _inline(path: str) -> str:
    text = (STATIC / path).read_text(encoding="utf-8")
    for served, named in _RENAMED.items():
        text = text.replace(served, named)
    return "data:text/javascript;base64," + base64.b64encode(text.encode()).decode()
