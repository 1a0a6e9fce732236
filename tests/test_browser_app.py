"""The web application: every address, what it refuses, what it says of runs that are empty or foreign, and fuzz."""

import asyncio
import json
import random
import urllib.parse

import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from openended import cli
from openended.browser import command, guard
from openended.browser.app import create
from openended.browser.desk import IMPORTS, SHELVES
from openended.browser.export import ask
from openended.browser.runs import Runs
from tests.made_archive import make_run


@pytest.fixture(scope="module")
def root(train_tiny, tmp_path_factory):
    """tiny: a real run; made: a made archive with script in its texts; empty: only a configuration; half: a cut archive."""
    folder = train_tiny(2)
    made = make_run(folder / "made", 300, 900)
    (folder / "empty").mkdir()
    (folder / "empty" / "config.yaml").write_text("run: {name: empty}\n")
    (folder / "half").mkdir()
    (folder / "half" / "config.yaml").write_text("run: {name: half\n")
    (folder / "half" / "archive.db").write_bytes((made / "archive.db").read_bytes()[:5000])
    (folder / "foreign").mkdir()
    (folder / "secret.txt").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def client(root):
    return TestClient(create(Runs(root)), base_url="http://localhost", raise_server_exceptions=False)


def some(client, run="tiny", **wanted):
    return client.get(f"/runs/{run}/data/tasks.json", params=wanted).json()["tasks"]


def test_every_page_and_what_it_links_to(client):
    """Pages answer, and every local address that they name exists."""
    id = some(client)[0]["id"]
    for path in (
        "/index.html",
        "/compare.html",
        *(f"/runs/tiny/{shelf}.html" for shelf in SHELVES),
        f"/runs/tiny/task/{id}.html",
    ):
        page = client.get(path)
        assert page.status_code == 200 and "Traceback" not in page.text, path
        for quoted in page.text.split('="')[1:]:
            link = quoted.split('"')[0]
            if link.endswith((".js", ".css", ".svg", ".html")) and not link.startswith("#"):
                assert client.get(urllib.parse.urljoin(path, link)).status_code == 200, f"{path} names {link}"


def test_data_of_a_real_run(client):
    overview = client.get("/runs/tiny/data/overview.json").json()
    assert (
        overview["rounds"] == 2 and len(overview["series"]["steps_total"]) == 2 and overview["families"][0]["family"] == "probe"
    )
    heldout = client.get("/runs/tiny/data/heldout.json").json()
    assert set(heldout) == {"steps", "lifetimes", "success"}
    specs = client.get("/runs/tiny/data/specs-probe.json").json()
    found = client.get(f"/runs/tiny/data/task/{some(client)[0]['id']}.json").json()
    assert list(found["numbers"]) == [spec["name"] for spec in specs] and found["note"] == ""
    assert all(number["low"] <= number["value"] <= number["high"] for number in found["numbers"].values())
    assert client.get("/runs/tiny/data/map-probe.json").json()["ids"]
    assert client.get("/data/runs.json").json()[-1]["run"] == "tiny"


def test_held_out_lifetimes_are_counted_once_for_all_clients(client, root, monkeypatch):
    """Counting builds the suite, half a second of the processor: it is not done again for every client and every round."""
    from openended import suites

    calls = []
    counted = suites.held_out
    monkeypatch.setattr(suites, "held_out", lambda *given: calls.append(given) or counted(*given))
    app = create(Runs(root))
    fresh = TestClient(app, base_url="http://localhost")
    for _ in range(3):
        assert fresh.get("/runs/tiny/data/heldout.json").status_code == 200
        app.app.state.desk.runs.find("tiny")._answers.clear()
    assert len(calls) == 1


def test_a_parameter_is_asked_for_in_its_own_unit(client):
    everything = client.get("/runs/tiny/data/everything.json").json()["tasks"]
    (index,) = [i for i, s in enumerate(client.get("/runs/tiny/data/specs-probe.json").json()) if s["name"] == "drift_x"]
    fits = {task["id"] for task in everything if task["vector"][index] >= 0.5}
    found = some(client, family="probe", parameter="drift_x", low=0.0, high=9, size=200)
    assert {task["id"] for task in found} == fits and 0 < len(fits) < len(everything)
    assert some(client, family="probe", parameter="drift_x", low=1.0) == []
    assert client.get("/runs/tiny/data/tasks.json?family=probe&parameter=wings").status_code == 404


def test_difficulty_is_computed_while_one_waits(client):
    import time

    for _ in range(600):
        answer = client.get("/runs/tiny/data/tasks.json", params={"sort": "difficulty", "size": 200}).json()
        if not answer["note"]:
            break
        time.sleep(0.2)
    bits = [task["difficulty"] for task in answer["tasks"]]
    assert all(b is not None for b in bits) and bits == sorted(bits, reverse=True) and bits[0] > bits[-1]


def test_replays_are_those_of_the_command(client, root, capsys):
    from openended.browser import frames

    task = some(client)[0]["id"]
    capsys.readouterr()
    assert cli.main(["replay", "tiny", task, "--seed", "3", "--json", "--root", str(root)]) == 0
    meant = json.loads(capsys.readouterr().out)
    assert client.get(f"/runs/tiny/replay/{task}/final-3.json").json() == meant
    answer = client.get(f"/runs/tiny/replay/{task}/final-3.bin")
    got = frames.decode(answer.content)
    for episode, other in zip(got["episodes"], meant["episodes"], strict=True):
        assert len(episode["frames"]) == len(other["frames"])
        for frame, should in zip(episode["frames"], other["frames"], strict=True):
            assert frame["spheres"][0] == pytest.approx(should["spheres"][0], abs=1e-5) and frame["solved"] == should["solved"]
    page = client.get(f"/runs/tiny/replay/{task}/final-3.html").text
    assert "http://" not in page.replace("http://www.w3.org", "") and task in page
    assert client.get(f"/runs/tiny/replay/{task}/final-3.gif").content[:6] == b"GIF89a"
    assert client.get(f"/runs/tiny/replay/{task}/untrained-3.json").json()["episodes"] != meant["episodes"]
    assert "allowed: final, untrained" in client.get(f"/runs/tiny/replay/{task}/999-0.json").json()["error"]


def test_thumbnails_show_body_and_target(client):
    svg = client.get(f"/runs/tiny/thumb/{some(client)[0]['id']}.svg")
    assert svg.headers["content-type"] == "image/svg+xml" and "<circle" in svg.text and "<path" in svg.text
    assert client.get("/runs/tiny/thumb/nobody.svg").status_code == 404


def test_tables_as_csv_and_json(client):
    csv = client.get("/runs/made/table/tasks.csv").text.splitlines()
    rows = client.get("/runs/made/table/tasks.json").json()
    assert len(csv) - 1 == len(rows) == 300 and csv[0].split(",")[:2] == ["id", "family"] and rows[0]["id"] in csv[1]
    assert len(client.get("/runs/made/table/events.json").json()) == 900


def test_an_unchanged_answer_is_not_sent_again(client):
    first = client.get("/runs/made/data/lineage.json")
    again = client.get("/runs/made/data/lineage.json", headers={"if-none-match": first.headers["etag"]})
    assert first.status_code == 200 and again.status_code == 304 and not again.content


@pytest.mark.parametrize("run", ["empty", "half", "foreign", "nobody"])
@pytest.mark.parametrize(
    "part", ["data/overview.json", "data/tasks.json", "data/memory.json", "data/task/x.json", "thumb/x.svg"]
)
def test_empty_half_written_and_foreign_runs_get_a_sentence(client, run, part):
    answer = client.get(f"/runs/{run}/{part}")
    assert answer.status_code == 404 and answer.json()["error"].endswith((".", "deleted.")), answer.text
    assert "Traceback" not in answer.text


def test_the_list_of_runs_shows_what_is_wrong_with_each(client):
    found = {run["run"]: run for run in client.get("/data/runs.json").json()}
    assert set(found) == {"empty", "half", "made", "tiny"}
    assert found["empty"]["problem"] and found["half"]["problem"] and not found["tiny"]["problem"]


def test_script_in_texts_stays_text(client):
    """Pages are shells; the texts come as JSON and are set as text. The page's own markup is escaped as well."""
    page = client.get("/runs/made/task/%3Cscript%3Ealert(1).html")
    assert page.status_code == 404 and "<script>alert" not in page.text and "&lt;script&gt;" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert json.loads(IMPORTS)["imports"]["three"].startswith("../../../static/")


def test_who_may_ask(client):
    assert client.get("/index.html", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/index.html", headers={"host": "localhost.evil.example"}).status_code == 421
    assert client.get("/index.html", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/index.html", headers={"origin": "http://localhost"}).status_code == 200
    fetched = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert client.get("/data/runs.json", headers=fetched).status_code == 403
    assert client.post("/index.html").status_code == 405 and client.delete("/runs/tiny/index.html").status_code == 405


def test_a_token_off_loopback(root):
    client = TestClient(create(Runs(root), (*guard.LOOPBACK, "192.0.2.1"), "s3cret"), base_url="http://192.0.2.1")
    assert client.get("/index.html").status_code == 401 and client.get("/index.html?token=wrong").status_code == 401
    assert client.get("/index.html", headers={"cookie": "openended_token=wrong"}).status_code == 401
    welcome = client.get("/index.html?token=s3cret&a=b", follow_redirects=False)
    assert welcome.status_code == 303 and welcome.headers["location"] == "/index.html?a=b"
    assert "HttpOnly" in welcome.headers["set-cookie"] and "SameSite=Strict" in welcome.headers["set-cookie"]
    assert client.get("/index.html").status_code == 200, "the cookie is enough now"
    assert command.is_loopback("127.0.0.1") and command.is_loopback("::1") and not command.is_loopback("0.0.0.0")


@pytest.mark.parametrize("up", ["../", "..%2f", "%2e%2e/", "%252e%252e%252f", "..%5c", "....//", "%c0%ae%c0%ae/"])
@pytest.mark.parametrize(
    "place", ["/static/", "/static/vendor/", "/runs/", "/runs/tiny/", "/runs/tiny/thumb/", "/runs/tiny/table/"]
)
def test_no_path_leaves_the_run(client, place, up):
    for depth in (1, 2, 5, 9):
        for target in ("secret.txt", "config.yaml", "etc/passwd", "tiny/archive.db"):
            answer = client.get(place + up * depth + target)
            assert answer.status_code in (303, 404, 422), (place, up, depth, target)
            assert b"secret" not in answer.content.replace(b"secret.txt", b"") and b"root:" not in answer.content


NASTY = [
    "",
    "0",
    "-1",
    "1",
    "9" * 30,
    "1e999",
    "nan",
    "NaN",
    "inf",
    "true",
    "null",
    "'",
    '"',
    "%",
    "_",
    "\\",
    "\x00",
    "\ud7ff",
    "ünïcödé",
]
NASTY += [
    "../..",
    "<script>",
    "a" * 250,
    "%00",
    "tiny",
    "made",
    "probe",
    "navigator",
    "final",
    "witness",
    "round",
    "json",
    ";",
    "{}",
    "[]",
]


def fuzzed(client, count, seed=0):
    """(address, status, body) of random requests over the OpenAPI description: known and nasty values for every parameter.

    They are asked of the application itself: a client's own work for a request would take longer than the answer.
    """

    async def answers():
        return [(at, *await ask(client.app, urllib.parse.unquote(at[0]), at[1].encode())) for at in asked]

    asked = list(addresses(client, count, seed))
    return asyncio.run(answers())


def addresses(client, count, seed):
    """(path, query) of random requests."""
    rng = random.Random(seed)
    paths = client.get("/openapi.json").json()["paths"]
    known = {"run": ["tiny", "made", "empty", "half"], "id": [t["id"] for t in some(client) + some(client, "made", size=5)]}
    known |= {
        "family": ["probe", "navigator"],
        "form": ["csv", "json", "bin"],
        "learner": ["final", "untrained"],
        "seed": ["0"],
    }
    for _ in range(count):
        path, operation = rng.choice(list(paths.items()))
        query = []
        for parameter in operation["get"].get("parameters", []):
            name = parameter["name"]
            value = rng.choice(known[name]) if name in known and rng.random() < 0.6 else rng.choice(NASTY)
            enum = parameter["schema"].get("enum")
            value = rng.choice(enum) if enum and rng.random() < 0.7 else value
            if parameter["in"] == "path":
                value = "json" if value == "gif" else value  # matplotlib is slow and is tested by itself
                path = path.replace("{" + name + "}", urllib.parse.quote(value.encode("utf-8", "replace"), safe=""))
            elif rng.random() < 0.5:
                query.append((name, value.encode("utf-8", "replace")))
        yield path, urllib.parse.urlencode(query)


def test_fuzz(client):
    found = fuzzed(client, 1500)
    worst = max(found, key=lambda answer: answer[1])
    assert worst[1] < 500, (worst[0], worst[2][:300])
    assert {200, 404, 422} <= {status for _, status, _ in found} and len(found) == 1500


@pytest.mark.slow
def test_ten_thousand_fuzzed_requests(client):
    found = fuzzed(client, 10_000, seed=1)
    worst = max(found, key=lambda answer: answer[1])
    assert worst[1] < 500, (worst[0], worst[2][:300])
    assert len(found) == 10_000 and {200, 404, 422} <= {status for _, status, _ in found}


def test_command_refuses_in_a_sentence(root, tmp_path, capsys):
    for words, part in (
        (["browse", "nobody", "--root", str(root)], "There is no run 'nobody'"),
        (["browse", str(root / "foreign"), "--root", str(root)], "There is no run"),
        (["browse", "--root", str(tmp_path / "none")], "There is no folder"),
        (["browse", "tiny", "--root", str(root), "--export", str(root)], "is not an empty folder"),
    ):
        assert cli.main(words) == 1
        assert part in capsys.readouterr().err
    for words in (["browse", "--port", "70000"], ["browse", "--port", "x"]):
        with pytest.raises(SystemExit) as told:
            cli.main(words)
        assert told.value.code == 2


def test_a_taken_port_is_told(root, capsys):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert cli.main(["browse", "tiny", "--root", str(root), "--port", str(taken.getsockname()[1])]) == 1
    assert "cannot be used" in capsys.readouterr().err


def test_the_static_site_holds_what_the_server_shows(root, client, tmp_path, capsys):
    assert cli.main(["browse", "tiny", "--root", str(root), "--export", str(tmp_path / "site"), "--replays", "2"]) == 0
    assert "http.server" in capsys.readouterr().out
    site = tmp_path / "site"
    ids = [task["id"] for task in client.get("/runs/tiny/data/everything.json").json()["tasks"]]
    assert all((site / "runs/tiny/task" / f"{id}.html").is_file() for id in ids)
    assert "data-static" in (site / "runs/tiny/gallery.html").read_text()
    assert all(
        task["difficulty"] is not None for task in json.loads((site / "runs/tiny/data/everything.json").read_text())["tasks"]
    )
    for part in ("memory", "facets", "config"):
        assert (site / f"runs/tiny/data/{part}.json").read_bytes() == client.get(f"/runs/tiny/data/{part}.json").content
    assert (site / "static/vendor/three/three.core.js").is_file() and not (site / "runs/made").exists()
