"""A replay is the lifetime that an evaluation sees, a witness solves its task, and both can be drawn."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from envs import drawing, render
from envs.navigator import Navigator
from envs.probe import Probe
from envs.spec import encode, sentence
from openended import checkpoint, cli, configuration, replay, rollouts, subjects
from openended.archive import Archive
from openended.browser import frames
from openended.locate import stored_config
from openended.networks import Policy


@pytest.fixture(scope="module")
def root(train_tiny):
    return train_tiny(1)


@pytest.fixture(scope="module")
def tasks(root):
    with Archive(root / "tiny" / "archive.db", readonly=True) as archive:
        return archive.tasks()


@pytest.fixture
def told(root, capsys):
    """What `openended replay tiny ...` prints."""

    def tell(*words, code=0):
        capsys.readouterr()
        found = cli.main(["replay", "tiny", *words, "--root", str(root)])
        output = capsys.readouterr()
        assert found == code, output
        return output.out if code in (0, 1) else output.err

    return tell


def test_a_film_is_the_lifetime_of_an_evaluation(root):
    """Rewards, successes and the goal's feature are those of `rollouts.lifetime` for the same key."""
    family, episodes = Probe(), 3
    loop = configuration.build(stored_config(root / "tiny"))
    _, params = replay.learner(root / "tiny", loop, "final")
    vector, key = np.full(len(family.specs), 0.4, np.float32), jax.random.key(5)
    film = replay.lifetime(family, loop.learner.policy, params, vector, key, episodes)
    rollout = jax.jit(lambda: rollouts.lifetime(family, loop.learner.policy, params, jnp.asarray(vector), key, episodes))()
    np.testing.assert_allclose(film.reward[:, 1:].reshape(-1), rollout.reward, atol=1e-5)
    np.testing.assert_array_equal(film.solved[:, -1], rollout.success)
    np.testing.assert_array_equal(film.reward[:, 0], 0.0)
    assert float(jnp.std(rollout.reward)) > 0.0
    seen = rollout.percept.observation.reshape(episodes, -1, rollout.percept.observation.shape[-1])
    np.testing.assert_allclose(film.shapes["spheres"][:, :-1, 0, :2], seen[:, :, :2], atol=0.1)  # sensors are noisy


def test_the_frames(told, tasks):
    found = json.loads(told(tasks[0].id[:-2], "--json"))
    assert found["task"] == tasks[0].id and found["family"] == "probe" and found["dt"] == 0.05
    assert found["learner"] == "learner 1 (final)" and len(found["episodes"]) == 3
    for episode in found["episodes"]:
        times = [frame["t"] for frame in episode["frames"]]
        assert times[0] == 0.0 and times[-1] == pytest.approx(tasks[0].goal["limit_s"])
        frame = episode["frames"][-1]
        assert len(frame["spheres"]) == 1 and len(frame["spheres"][0]) == 4 and frame["capsules"] == frame["boxes"] == []
        size = len(frame["target"])
        distance = np.linalg.norm(np.subtract(frame["value"], frame["target"]))
        assert distance == pytest.approx(frame["distance"], abs=1e-4)
        assert frame["value"] == pytest.approx(frame["spheres"][0][:size], abs=1e-4)
        assert episode["reward"] == pytest.approx(sum(f["reward"] for f in episode["frames"]), abs=1e-3)
        assert episode["success"] == any(f["solved"] for f in episode["frames"])


def test_seed_and_learner_decide_the_lifetime(told, tasks, root):
    task = tasks[0].id
    one, same, other = (json.loads(told(task, "--json", "--seed", seed)) for seed in ("1", "1", "2"))
    assert one == same and one["episodes"] != other["episodes"]
    untrained = json.loads(told(task, "--json", "--seed", "1", "--learner", "untrained"))
    assert untrained["episodes"] != one["episodes"]
    loop = configuration.build(stored_config(root / "tiny"))
    checkpoint.save_snapshot(root / "tiny" / "snapshots", 7, loop.init().learner.params)
    snapshot = json.loads(told(task, "--json", "--seed", "1", "--learner", "7"))
    assert snapshot["learner"] == "learner 7" and snapshot["episodes"] == untrained["episodes"]
    assert "--learner is '8'; allowed: final, untrained, 7" in told(task, "--learner", "8", code=2)


def test_the_final_learner_is_that_of_the_last_round_the_archive_knows(root, tmp_path):
    """A run that was killed between a checkpoint and its rows: replay and eval see the round before."""
    folder = tmp_path / "tiny"
    shutil.copytree(root / "tiny", folder)
    loop = configuration.build(stored_config(folder))
    fresh = loop.init()
    checkpoint.save(folder / "checkpoints", 2, fresh._replace(round=np.int64(2), version=np.int64(9)))
    name, params = replay.learner(folder, loop, "final")
    assert name == "learner 1 (final)"
    assert checkpoint.tree_hash(params) == checkpoint.tree_hash(subjects.restore(folder).trained)
    assert checkpoint.tree_hash(params) != checkpoint.tree_hash(fresh.learner.params)


def test_one_episode(told, tasks):
    whole = json.loads(told(tasks[0].id, "--json"))
    (second,) = json.loads(told(tasks[0].id, "--json", "--episode", "2"))["episodes"]
    assert second == whole["episodes"][1] and second["episode"] == 2
    assert "--episode is 4; allowed: 1 to 3" in told(tasks[0].id, "--episode", "4", code=2)


def test_every_witness_solves_its_task(told, tasks):
    valid = [task for task in tasks if task.status != "quarantined"][:4]
    assert valid
    for task in valid:
        (episode,) = json.loads(told(task.id, "--witness", "--json"))["episodes"]
        assert episode["success"] and episode["solved_at_s"] <= task.goal["limit_s"]
        last = next(frame for frame in episode["frames"] if frame["solved"])
        assert last["distance"] <= task.goal["tolerance"] + 1e-4
        key = jax.random.wrap_key_data(jnp.asarray(json.loads(task.witness)["key"], jnp.uint32))
        start = Probe().begin(None, jax.random.split(key)[0]).position  # from its own key, not from another start
        assert episode["frames"][0]["spheres"][0][:2] == pytest.approx(start.tolist(), abs=1e-4)
    assert "solved at t = " in told(valid[0].id, "--witness")


def test_a_witness_that_fails_is_told(told, tasks, monkeypatch):
    choose = replay._choose

    def idle(*arguments):
        task = choose(*arguments)
        return task._replace(witness={**task.witness, "actions": np.zeros_like(task.witness["actions"]).tolist()})

    monkeypatch.setattr(replay, "_choose", idle)
    assert "The stored witness does not solve the task" in told(tasks[0].id, "--witness", code=1)


def test_text_and_files(told, tasks, tmp_path):
    text = told(tasks[0].id)
    assert [line.split(":")[0] for line in text.splitlines()[3:6]] == [f"  episode {i}" for i in (1, 2, 3)]
    assert "--gif FILE" in text and tasks[0].id in text
    assert text.splitlines()[1] == sentence(tasks[0].description)
    frames, sheet, film = tmp_path / "frames.json", tmp_path / "sheet.png", tmp_path / "film.gif"
    told(tasks[0].id, "--out", str(frames), "--png", str(sheet), "--gif", str(film))
    assert json.loads(frames.read_text()) == json.loads(told(tasks[0].id, "--json"))
    limit = round(tasks[0].goal["limit_s"] / 0.05)
    with Image.open(sheet) as image, Image.open(film) as animation:
        assert image.width > 1000 and len(image.convert("RGB").getcolors(1 << 24)) > 20
        # equal neighbours are merged, so there may be fewer frames than were drawn, but not many fewer
        assert 2 * limit < animation.n_frames <= 3 * (limit + render.PAUSE)


def test_a_task_file_can_be_replayed(told, tasks, root, tmp_path, capsys):
    path = tmp_path / "task.json"
    assert cli.main(["task", "tiny", tasks[0].id, "--as", "json", "--out", str(path), "--root", str(root)]) == 0
    assert json.loads(told(str(path), "--json")) == json.loads(told(tasks[0].id, "--json"))
    assert cli.main(["replay", "tiny", str(path), "--witness", "--root", str(root)]) == 1
    assert "no stored witness" in capsys.readouterr().err


def test_a_memoryless_policy_can_be_filmed():
    family = Probe()
    policy = Policy(observation=family.layout.observation, actions=family.actuators, memory="none")
    film = replay.lifetime(
        family, policy, policy.init(jax.random.key(0)), np.full(len(family.specs), 0.5), jax.random.key(1), 1
    )
    assert film.value.shape == (1, family.episode_steps + 1, 1, 2) and not bool(film.broken.any())


def test_what_never_moves_is_told_once():
    """Obstacles are `fixed`, absent ones are nowhere, and the puck is in every frame."""
    family = Navigator()
    values = {"obstacle_0": 1, "obstacle_1": 0, "obstacle_2": 1, "feature": 0, "hidden": 0, "limit": 1.2}
    vector = encode(family.specs, values)
    model = family.prepare(jnp.asarray(vector))
    actions = jax.random.uniform(jax.random.key(1), (family.episode_steps, 2), minval=-1.0)
    film = jax.tree.map(lambda x: x[None], jax.jit(lambda: replay.watch(family, model, jax.random.key(0), actions))())
    found = replay.document(family, replay.Chosen("a", "navigator", vector, "", None), "nobody", film)
    assert [len(found["fixed"][kind]) for kind in drawing.KINDS] == [0, 2, 0]
    assert found["fixed"]["spheres"][1][3] == pytest.approx(0.14, abs=1e-4)
    frames = found["episodes"][0]["frames"]
    assert len(frames) == 25 and all([len(f[kind]) for kind in drawing.KINDS] == [0, 1, 0] for f in frames)
    assert found["view"] == "top" and found["target_axes"] == "xy" and found["objects"] == {}


def test_a_goal_of_two_conditions(tmp_path):
    """Both are told in every frame, survive the browser's binary form, and both targets are in the picture."""
    family = Probe(combined_goals=True)
    one = {"feature": 0, "target_a": 0.9, "target_b": 0.5, "combined": 1, "in_order": 1, "feature_2": 1, "target_2a": 0.1}
    vector = encode(family.specs, one | {"hidden": 0, "limit": 1.5})
    actions = jax.random.uniform(jax.random.key(1), (family.episode_steps, 2), minval=-1.0)
    film = jax.tree.map(lambda x: x[None], replay.watching(family)(jnp.asarray(vector), jax.random.key(0), actions))
    found = replay.document(family, replay.Chosen("a", "probe", vector, "", None), "nobody", film)
    assert found["target_axes"] == "xy" and found["second_axes"] == "x" and found["goal"]["combination"] == "then"
    frames_ = found["episodes"][0]["frames"]
    assert all(len(f["value"]) == 2 and len(f["second"]["value"]) == 1 for f in frames_)
    assert all(
        f["second"]["distance"] == pytest.approx(abs(f["value"][0] - f["second"]["target"][0]), abs=1e-4) for f in frames_
    )
    again = frames.decode(b"".join(frames.encode(found)))["episodes"][0]["frames"]
    assert [f["second"]["distance"] for f in again] == pytest.approx([f["second"]["distance"] for f in frames_], abs=1e-6)
    left, _, right, _ = render.bounds(found)
    goal = found["goal"]
    assert right >= goal["target"][0] + goal["tolerance"]
    assert left <= goal["second"]["target"][0] - goal["second"]["tolerance"]
    alone = {key: value for key, value in found.items() if key != "second_axes"} | {"goal": {**goal}}
    del alone["goal"]["second"]
    assert orange(found, tmp_path / "two.png") > 1.2 * orange(alone, tmp_path / "one.png")


def orange(document, path):
    """How many pixels of a still picture have the colour of targets."""
    render.save_contact_sheet(document, path)
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return int(np.sum(picture[..., 0] - picture[..., 2] > 20))
