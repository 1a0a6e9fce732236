# ruff: noqa: E402
"""The pages in a real Chromium: what they show, that the replay really draws, that nothing else is asked for."""

import concurrent.futures
import functools
import http.server
import io
import json
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
sync_api = pytest.importorskip("playwright.sync_api")

from openended.archive import Archive, EventRow, RoundRecord, TaskRow
from openended.browser.app import create
from openended.browser.desk import SHELVES
from openended.browser.export import export
from openended.browser.runs import Runs
from tests.made_archive import GOAL, make_run

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
WHY = "Chromium is not installed: apt-get install chromium"
pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason=WHY), pytest.mark.slow]
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
FLAGS += ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]  # no network at all
NO_WEBGL = """HTMLCanvasElement.prototype.getContext = ((old) => function (kind, ...rest) {
    return /webgl/.test(kind) ? null : old.call(this, kind, ...rest);
})(HTMLCanvasElement.prototype.getContext)"""
PATIENCE = 120_000  # ms: the first replay compiles


class Served:
    """An application on a free port, in a thread."""

    def __init__(self, app):
        import uvicorn

        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.05)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self):
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture(scope="module")
def root(train_tiny):
    folder = train_tiny(2)
    make_run(folder / "made", 500, 1500)
    return folder


@pytest.fixture(scope="module")
def served(root):
    found = Served(create(Runs(root)))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A page on which any error of a script, and any request to another host, fails the test."""
    view = chromium.new_page(viewport={"width": 1200, "height": 800})
    troubles, asked = [], []
    view.on("pageerror", lambda error: troubles.append(str(error)))
    view.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    view.on("request", lambda request: asked.append(request.url))
    yield view
    view.close()
    assert not troubles
    assert asked and all(url.startswith(("http://127.0.0.1:", "data:", "blob:")) for url in asked)


def first_task(root, status=None):
    with Archive(root / "tiny" / "archive.db", readonly=True) as archive:
        return archive.tasks(status)[0]


def picture(locator):
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB")).astype(int)


def replaying(page, served, root, query="play=0"):
    page.goto(f"{served.url}/runs/tiny/task/{first_task(root).id}.html?{query}")
    page.wait_for_selector("#player[data-ready]", timeout=PATIENCE)
    page.wait_for_timeout(300)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("shelf", [*SHELVES, "compare"])
def test_every_page_shows_something(page, served, shelf, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{served.url}/compare.html?runs=made,tiny" if shelf == "compare" else f"{served.url}/runs/made/{shelf}.html")
    page.wait_for_timeout(2000)
    ready = {"index": "#why canvas", "gallery": "#tasks li:nth-child(60)", "compare": "#retained canvas"}
    page.wait_for_selector(ready.get(shelf, "main canvas"), timeout=20_000)
    shades = picture(page.locator("main")).reshape(-1, 3)
    assert len(np.unique(shades, axis=0)) > 100
    assert (np.median(shades) > 128) == (scheme == "light")
    assert not page.locator("[role=alert]:not(:empty)").count()
    assert shelf != "index" or "–" not in page.inner_text("#health")


def test_a_table_is_taken_along_as_it_is_shown(page, served):
    page.goto(f"{served.url}/runs/made/index.html")
    page.wait_for_selector("#families tbody tr", timeout=20_000)
    took = {}
    for form in ("CSV", "JSON"):
        with page.expect_download() as waiting:
            page.locator("section", has=page.locator("#families")).get_by_role("button", name=form).click()
        took[form] = Path(waiting.value.path()).read_text()
        assert waiting.value.suggested_filename == f"made-families.{form.lower()}"
    head, *rows = [line.split(",") for line in took["CSV"].splitlines()]
    assert head[:2] == ["family", "tasks"] and sum(int(row[1]) for row in rows) == 500
    assert [[row[name] for name in head[:8]] for row in json.loads(took["JSON"])] == [row[:8] for row in rows]


def test_the_gallery_holds_the_place_of_its_pictures_and_fills_it(page, served):
    """Every picture that is seen is drawn within a time that is generous for a busy machine; nothing looks broken before."""
    page.goto(f"{served.url}/runs/made/gallery.html")
    page.wait_for_selector("#tasks li:nth-child(60) .picture", timeout=20_000)
    assert page.evaluate("getComputedStyle(document.querySelector('.picture'), '::after').content") != "none"
    seen = "[...document.querySelectorAll('.picture')].filter((node) => node.getBoundingClientRect().top < innerHeight)"
    page.wait_for_function(f"() => {seen}.every((node) => node.querySelector('img').naturalWidth > 0)", timeout=60_000)
    assert page.evaluate(f"{seen}.length") >= 8 and page.locator(".picture.undrawn").count() == 0
    assert page.evaluate(f"{seen}.every((node) => getComputedStyle(node, '::after').display === 'none')")


def test_a_picture_that_cannot_be_drawn_is_said_to_be_missing(page, served):
    page.route("**/thumb/*.svg", lambda route: route.fulfill(status=200, content_type="image/svg+xml", body="no picture"))
    page.goto(f"{served.url}/runs/made/gallery.html")
    page.wait_for_selector(".picture.undrawn", timeout=20_000)
    assert "no picture" in page.evaluate("getComputedStyle(document.querySelector('.undrawn'), '::after').content")


def test_the_tree_is_coloured_by_a_difficulty_that_is_computed_for_it(page, served):
    page.goto(f"{served.url}/runs/tiny/lineage.html?show=all&colour=difficulty")
    page.wait_for_function("() => /task/.test(document.querySelector('#count').textContent)", timeout=20_000)
    page.wait_for_function("() => document.querySelector('#note').textContent === ''", timeout=PATIENCE)
    page.wait_for_timeout(2000)
    page.focus("#tree")
    page.keyboard.press("ArrowDown")
    assert "bits hard" in page.inner_text("#tip")
    before = picture(page.locator("#tree"))
    page.click("#in")
    page.wait_for_timeout(300)
    assert np.any(picture(page.locator("#tree")) != before)


def test_what_is_collapsed_in_the_tree_stays_so_in_its_address(page, served):
    shown = lambda: int(page.inner_text("#count").split(" task")[0].replace(",", ""))  # noqa: E731
    page.goto(f"{served.url}/runs/made/lineage.html?show=all")
    page.wait_for_function("() => /task/.test(document.querySelector('#count').textContent)", timeout=20_000)
    page.focus("#tree")
    whole = shown()
    page.keyboard.press(" ")  # the first has the most children
    assert shown() < whole and "fold=" in page.url
    folded = shown()
    page.goto(page.url)
    page.wait_for_function("() => /task/.test(document.querySelector('#count').textContent)", timeout=20_000)
    assert shown() == folded


def test_script_in_a_description_is_text(page, served):
    page.on("dialog", lambda dialog: pytest.fail("a script of a task ran"))
    page.goto(f"{served.url}/runs/made/gallery.html")
    page.wait_for_selector("#tasks li", timeout=20_000)
    assert "<script>alert(" in page.inner_text("#tasks li:first-child p")
    assert page.locator("#tasks script").count() == 0


def test_the_gallery_narrows_by_keyboard_and_keeps_it_in_the_address(page, served):
    page.goto(f"{served.url}/runs/made/gallery.html")
    page.wait_for_selector("#tasks li", timeout=20_000)
    page.keyboard.press("/")
    page.keyboard.type("blue")
    page.wait_for_timeout(1500)
    blue = page.inner_text("#count")
    assert (
        "search=blue" in page.url
        and blue != "500 tasks."
        and all("blue" in t for t in page.locator("#tasks p").all_inner_texts())
    )
    page.goto(page.url)
    page.wait_for_selector("#tasks li", timeout=20_000)
    assert page.inner_text("#count") == blue and page.input_value("[name=search]") == "blue"


def test_the_replay_really_draws_and_plays(page, served, root):
    replaying(page, served, root)
    screen = page.locator("#player .screen").first
    page.evaluate("player.seek(0)")
    before = picture(screen)
    page.evaluate("player.speed = 1; player.play()")
    page.wait_for_timeout(700)
    changed = np.abs(picture(screen) - before).max(axis=2) > 30
    assert 50 < changed.sum() < 0.5 * changed.size, "something moves, and not everything"
    assert page.locator("#player .screen").count() == 2, "the first and the last episode, side by side"


@pytest.mark.parametrize("view", ["top", "side", "3d"])
def test_the_body_is_where_the_physics_says(page, served, root, view):
    """The sphere's centre, projected with the camera's numbers, has the body's colour; a place far from all does not."""
    from openended.browser import frames

    replaying(page, served, root)
    task = first_task(root).id
    film = frames.decode(page.request.get(f"{served.url}/runs/tiny/replay/{task}/final-0.bin").body())
    page.evaluate(f"player.screens[0].scene.look('{view}')")
    for i in (0, 7, len(film["episodes"][0]["frames"]) - 1):
        frame = film["episodes"][0]["frames"][i]
        page.evaluate(f"player.seek({frame['t']})")
        shot = picture(page.locator("#player .screen canvas").first)
        eye = page.evaluate("player.screens[0].scene.eye()")
        x, y = seen(eye, np.array(frame["spheres"][0][:3]), shot.shape)
        red, green, blue = shot[round(y), round(x)]
        assert blue > red + 40 and blue > green + 15, (view, i, (x, y), (red, green, blue))


def seen(eye, point, shape):
    """Pixel (x, y) of a point under a perspective camera whose up is z: worked out here, not asked of the page."""
    position, target = np.array(eye["position"]), np.array(eye["target"])
    ahead = (target - position) / np.linalg.norm(target - position)
    right = np.cross(ahead, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    up, offset = np.cross(right, ahead), point - position
    scale = 1 / (np.tan(np.radians(eye["fov"]) / 2) * (offset @ ahead))
    height, width = shape[:2]
    return (1 + offset @ right * scale / eye["aspect"]) * width / 2, (1 - offset @ up * scale) * height / 2


def test_a_ghost_and_the_controls(page, served, root):
    replaying(page, served, root, "play=0&ghost=untrained")
    ghostly = lambda: ((shot := picture(page.locator("#player .screen").first))[..., 2] > shot[..., 1] + 25).sum()  # noqa: E731
    page.evaluate("player.seek(0.5)")
    with_ghost = ghostly()
    page.select_option("#ghost", "")
    page.wait_for_timeout(1500)
    page.evaluate("player.seek(0.5)")
    assert with_ghost > 1.2 * ghostly()
    page.focus("#player")
    page.keyboard.press("End")
    assert page.evaluate("player.seconds") == pytest.approx(page.evaluate("player.film.seconds"))
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("player.seconds") == pytest.approx(0.05)
    page.keyboard.press(" ")
    assert page.evaluate("player.playing")


def test_readable_without_webgl(page, served, root):
    page.add_init_script(NO_WEBGL)
    replaying(page, served, root)
    screen = page.locator("#player .screen").first
    page.evaluate("player.seek(0)")
    before = picture(screen)
    page.evaluate("player.seek(1)")
    assert (np.abs(picture(screen) - before).max(axis=2) > 30).sum() > 50
    assert "no WebGL" in page.inner_text("#player")


def test_a_narrow_screen_needs_no_sideways_scrolling(page, served, root):
    page.set_viewport_size({"width": 360, "height": 740})
    id = first_task(root).id
    for path in (
        *(f"runs/tiny/{shelf}.html" for shelf in SHELVES),
        f"runs/tiny/task/{id}.html?play=0",
        "compare.html",
        "index.html",
    ):
        page.goto(f"{served.url}/{path}")
        page.wait_for_timeout(1200)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_a_live_run_is_seen_within_three_seconds_and_a_dead_one_is_stale(page, tmp_path):
    folder = make_run(tmp_path / "runs" / "live", 50, 60)
    alive = lambda: (folder / "heartbeat.json").write_text(json.dumps({"time": time.time(), "stage": "learn", "round": 3}))  # noqa: E731
    alive()
    found = Served(create(Runs(tmp_path / "runs")))
    try:
        page.goto(f"{found.url}/runs/live/gallery.html")
        page.wait_for_selector("#tasks li", timeout=20_000)
        assert "live" in page.inner_text("#state")
        with Archive(folder / "archive.db") as archive:
            row = TaskRow("reacher-new", "reacher", [0.5] * 27, GOAL, "a brand new thing", "frontier", "skill", 3, 0, 1.0)
            archive.commit_round(RoundRecord(3, [row], events=[EventRow("reacher-new", "frontier", "new")]))
        alive()
        page.wait_for_selector("text=A brand new thing", timeout=3000)
        page.wait_for_selector("#state.stale", timeout=15_000)
    finally:
        page.goto("about:blank")  # else its next look at the server that is gone is an error
        found.stop()


def test_the_static_site_and_the_offline_replay_work_with_a_plain_web_server(page, root, served, tmp_path):
    with concurrent.futures.ThreadPoolExecutor() as pool:  # playwright keeps an event loop in this thread
        pool.submit(export, Runs(root, "tiny"), tmp_path / "site", 1).result()
    task = first_task(root).id
    (tmp_path / "site" / "film.html").write_bytes(page.request.get(f"{served.url}/runs/tiny/replay/{task}/final-0.html").body())
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        for name in ("index.html", *(f"runs/tiny/{shelf}.html" for shelf in SHELVES), "compare.html"):
            page.goto(f"{url}/{name}")
            page.wait_for_timeout(800)
        page.goto(f"{url}/runs/tiny/gallery.html?search=drift&sort=difficulty")
        page.wait_for_selector("#tasks li a", timeout=20_000)
        page.goto(f"{url}/film.html")
        page.wait_for_selector(".screen canvas", timeout=20_000)
        before = picture(page.locator(".screen").first)
        page.evaluate("player.seek(1)")
        assert (np.abs(picture(page.locator(".screen").first) - before).max(axis=2) > 30).sum() > 50
    finally:
        server.shutdown()
        server.server_close()


def test_chromium_is_where_the_tests_look():
    assert Path(CHROMIUM).exists()
