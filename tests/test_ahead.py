"""Programs compiled ahead give what their functions give; traces that were kept spare the tracing and nothing else."""

import threading
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from openended import ahead, configuration, traces, trees
from openended.traces import Traces, traces_of


class Result(NamedTuple):
    numbers: jax.Array
    drawn: jax.Array


class Counted:
    """A program that counts how often Python goes through it."""

    def __init__(self):
        self.times = 0

    def __call__(self, scale, rows, keys):
        self.times += 1
        return {"of": Result(scale["by"] * rows, jax.vmap(lambda key: jax.random.uniform(key))(keys))}


def program():
    function = Counted()
    return function, trees.OverDevices(function, (trees.SAME, trees.ROWS, trees.ROWS), trees.ROWS)


SHAPES = ({"by": ahead.floats()}, ahead.floats(4, 3), ahead.keys(4))


def arguments():
    return {"by": jnp.float32(2.0)}, jnp.arange(12.0).reshape(4, 3), jax.random.split(jax.random.key(1), 4)


def compiled(store=None):
    function, made = program()
    call = ahead.compile_aside({"it": (made, SHAPES)}, store)["it"].result()
    return function.times, call, made


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert jax.tree.structure(one) == jax.tree.structure(other)


def test_it_gives_what_the_function_gives():
    times, call, made = compiled()
    assert times == 1
    same(call(*arguments()), made(*arguments()))


def test_it_takes_arguments_from_wherever_they_are():
    _, call, made = compiled()
    scale, rows, keys = arguments()
    once = call(scale, rows, keys)["of"].numbers  # spread over the devices
    same(call(trees.replicate(scale), once, keys), made(scale, once, keys))


def test_a_kept_trace_is_not_made_again(tmp_path):
    store = Traces(tmp_path / "traces", "this")
    first, call, _ = compiled(store)
    again, kept, _ = compiled(Traces(tmp_path / "traces", "this"))
    assert (first, again) == (1, 0)
    same(call(*arguments()), kept(*arguments()))


def test_functions_on_the_first_device_are_kept_too(tmp_path):
    times = []

    def scaled(by, numbers, key):
        times.append(by)
        return Result(by * numbers["of"], jax.random.uniform(key))

    jitted, given = jax.jit(scaled, static_argnums=0), ({"of": jnp.arange(3.0)}, jax.random.key(4))
    want = jitted(3, *given)
    for traced in (1, 0):
        times.clear()
        kept = ahead.Kept("arm", Traces(tmp_path, "this"), {"xla_backend_optimization_level": 1})
        for _ in range(2):
            same(kept(jitted, (3,), *given), want)
        assert len(times) == traced
    same(ahead.Kept("puck", Traces(tmp_path, "this"), {})(jitted, (2,), *given).numbers, 2.0 * given[0]["of"])


class Slow:
    """A store that two programs at a time wait for."""

    def __init__(self):
        self.asked, self.two, self.go = [], threading.Semaphore(0), threading.Event()

    def load(self, name, arguments):
        self.asked.append(name)
        self.two.release()
        assert self.go.wait(60)

    def save(self, name, arguments, trace):
        pass


def test_what_has_not_begun_can_be_let_go():
    (_, made), store = program(), Slow()
    begun = ahead.compile_aside(dict.fromkeys("abcd", (made, SHAPES)), store)
    assert store.two.acquire(timeout=60) and store.two.acquire(timeout=60)
    ahead.cancel()
    store.go.set()
    assert callable(begun["a"].result()) and callable(begun["b"].result())
    assert begun["c"].cancelled() and begun["d"].cancelled() and sorted(store.asked) == ["a", "b"]


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(b"nothing"), lambda path: path.unlink()])
def test_a_trace_that_cannot_be_read_is_made_again(tmp_path, harm):
    store = Traces(tmp_path, "this")
    compiled(store)
    (path,) = tmp_path.iterdir()
    harm(path)
    assert compiled(store)[0] == 1 and compiled(store)[0] == 0


def test_what_the_name_depends_on(tmp_path, monkeypatch):
    store = Traces(tmp_path, "this")
    compiled(store)
    assert compiled(Traces(tmp_path, "that"))[0] == 1
    function, made = program()
    wider = (SHAPES[0], ahead.floats(4, 5), SHAPES[2])
    ahead.compile_aside({"it": (made, wider)}, store)["it"].result()
    assert function.times == 1
    monkeypatch.setattr(traces, "_sources", lambda: "other")
    assert compiled(Traces(tmp_path, "this"))[0] == 1
    monkeypatch.setattr(traces, "environment", lambda: {"jax": "other"})
    assert compiled(Traces(tmp_path, "this"))[0] == 1
    assert len(list(tmp_path.iterdir())) == 5


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    assert compiled(Traces(tmp_path / "file", "this"))[0] == 1
    assert compiled(Traces(None, "this"))[0] == 1


def test_a_configuration_is_all_but_the_run():
    one, other, third = (
        traces_of(configuration.read(["experiment=probe", *more]))
        for more in ([], ["run.seed=5", "run.name=x", "heldout.lifetimes=2"], ["loop.updates=3"])
    )
    assert one.made_of == other.made_of != third.made_of
