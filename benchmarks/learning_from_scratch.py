"""Meta-learning from scratch: an LSTM in every connection that finds a learning algorithm of its own, beside tuned SGD.

    pip install scikit-learn
    python benchmarks/learning_from_scratch.py [--updates 3000] [--seeds 5] [--json]

The network is that of `cloning.py` without hidden neurons: one LSTM, shared by all connections of an input and a class, hears
the input and, after its answer, the error of the class. Nothing tells it what to do with them. It is trained by gradient
descent through whole lifetimes, to answer each example of a stream right before its label is told. Streams are clusters behind
random projections with labels in random order, so that what carries over is how to learn and not what.

Then its weights stay, and it meets data sets of other sizes that it never saw, from empty states. Success is accuracy over
the first 500 examples, each answered before it is learned from. Beside it: softmax regression by SGD, and by Adam, with the
rate of a grid that is best on the streams that the LSTM was trained on, as little as it knows, and with the one that is best on
this very data set, chosen with hindsight.

Sources: Kirsch and Schmidhuber 2021 (VSML, arXiv 2012.14905), section on meta-learning from scratch; Hochreiter et al. 2001 for
the gradient through learning.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from typing import Any

import cloning
import jax
import jax.numpy as jnp
import numpy as np
import optax
from cloning import Params, init

from openended.comparison import paired

STREAMS = 8  # of an update
SHAPES = ((6, 3), (10, 4), (16, 5))  # inputs and classes of a stream, in turns
LENGTHS = (20, 50, 100)  # examples, for a third of the updates each
EXAMPLES = 500
RATES = tuple(10.0 ** (-x / 2) for x in range(9))  # 1 to 1e-4
DATA = ("digits", "wine", "breast_cancer", "iris")


def answered(params: Params, stream: tuple[jax.Array, jax.Array], classes: int) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy f32[T] and correctness bool[T] of the answers to a stream (inputs f32[T, A], labels i32[T])."""
    wide = stream[0].shape[1]

    def example(state: Any, now: tuple[jax.Array, jax.Array]) -> Any:
        inputs, label = now
        state, said = cloning.tick(params, state, inputs, None)
        answer = jnp.sum(said, axis=0) / math.sqrt(wide)
        told = jax.nn.one_hot(label, classes)
        state, _ = cloning.tick(params, state, inputs, jax.nn.softmax(answer) - told)
        return state, (optax.softmax_cross_entropy(answer, told), jnp.argmax(answer) == label)

    return jax.lax.scan(example, cloning.born(jnp.zeros((wide, classes))), stream)[1]


def clusters(key: jax.Array, length: int, shape: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """A stream: two clusters a class, behind a random projection, standardised, with a constant input."""
    wide, classes = shape[0] - 1, shape[1]
    keys = jax.random.split(key, 6)
    apart = jax.random.uniform(keys[0], minval=0.3, maxval=1.5)
    middles = apart * jax.random.normal(keys[1], (2 * classes, wide))
    which = jax.random.randint(keys[2], (length,), 0, 2 * classes)
    own = middles[which] + jax.random.normal(keys[3], (length, wide)) * jax.random.uniform(keys[4], (wide,), minval=0.3)
    inputs = own @ jax.random.normal(keys[5], (wide, wide))
    inputs = (inputs - jnp.mean(inputs, axis=0)) / (jnp.std(inputs, axis=0) + 1e-6)
    return jnp.concatenate([inputs, jnp.ones((length, 1))], axis=1), which % classes


def optimiser(updates: int) -> optax.GradientTransformation:
    """Of the LSTM, over so many updates."""
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(3e-3, updates)))


@functools.partial(jax.jit, static_argnames=("updates", "length", "shape"))
def update(carry: Any, key: jax.Array, updates: int, length: int, shape: tuple[int, int]) -> tuple[Any, jax.Array]:
    """One step on streams of so many examples; the cross-entropy over log(classes) before it."""

    def loss(params: Params) -> jax.Array:
        streams = jax.vmap(lambda k: clusters(k, length, shape))(jax.random.split(key, STREAMS))
        return jnp.mean(jax.vmap(lambda stream: answered(params, stream, shape[1])[0])(streams)) / math.log(shape[1])

    params, state = carry
    error, gradient = jax.value_and_grad(loss)(params)
    change, state = optimiser(updates).update(gradient, state, params)
    return (optax.apply_updates(params, change), state), error


def meta_train(key: jax.Array, updates: int) -> tuple[Params, list[float]]:
    """The LSTM after so many updates, and the error of every hundredth."""
    first, second = jax.random.split(key)
    params = init(first)
    carry: Any = (params, optimiser(updates).init(params))
    errors = []
    for i in range(updates):
        length = LENGTHS[min(len(LENGTHS) * i // updates, len(LENGTHS) - 1)]
        carry, error = update(carry, jax.random.fold_in(second, i), updates, length, SHAPES[i % len(SHAPES)])
        errors += [error] if i % 100 == 99 or i == 0 else []
    return carry[0], [float(error) for error in errors]


def regression(optimiser: optax.GradientTransformation, stream: tuple[jax.Array, jax.Array], classes: int) -> jax.Array:
    """Correctness bool[T] of softmax regression, which learns from every example after its answer."""

    def example(carry: Any, now: tuple[jax.Array, jax.Array]) -> Any:
        weights, state = carry
        inputs, label = now
        answer = inputs @ weights
        gradient = jnp.outer(inputs, jax.nn.softmax(answer) - jax.nn.one_hot(label, classes))
        change, state = optimiser.update(gradient, state, weights)
        return (weights + change, state), jnp.argmax(answer) == label

    start = jnp.zeros((stream[0].shape[1], classes))
    return jax.lax.scan(example, (start, optimiser.init(start)), stream)[1]


@functools.partial(jax.jit, static_argnames="classes")
def by_rates(stream: tuple[jax.Array, jax.Array], classes: int) -> dict[str, jax.Array]:
    """Accuracy f32[R] on a stream of SGD and of Adam at every rate."""
    methods = {"sgd": optax.sgd, "adam": optax.adam}
    return {
        who: jnp.stack([jnp.mean(regression(method(rate), stream, classes)) for rate in RATES])
        for who, method in methods.items()
    }


@functools.partial(jax.jit, static_argnames="classes")
def by_lstm(params: Params, stream: tuple[jax.Array, jax.Array], classes: int) -> jax.Array:
    """Accuracy of the LSTM on a stream."""
    return jnp.mean(answered(params, stream, classes)[1])


def tuned(key: jax.Array) -> dict[str, int]:
    """Places in RATES of the rates that are best on streams such as those of meta-training."""
    found: dict[str, Any] = {}
    for shape in SHAPES:
        streams = jax.vmap(lambda k, shape=shape: clusters(k, LENGTHS[-1], shape))(jax.random.split(key, 8 * STREAMS))
        for who, share in jax.vmap(functools.partial(by_rates, classes=shape[1]))(streams).items():
            found[who] = found.get(who, 0.0) + jnp.mean(share, axis=0)
    return {who: int(jnp.argmax(share)) for who, share in found.items()}


def measure(updates: int, seeds: int) -> dict[str, Any]:
    """Accuracies with 95 % intervals over seeds, each with an LSTM and an order of the examples of its own."""
    rows: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in DATA}
    errors, began, known = [], time.perf_counter(), tuned(jax.random.key(seeds))
    for seed in range(seeds):
        params, error = meta_train(jax.random.key(seed), updates)
        errors.append(error)
        for name in DATA:
            inputs, labels = cloning.stream(name, seed)
            stream, classes = (inputs[:EXAMPLES], labels[:EXAMPLES]), int(labels.max()) + 1
            found = {"vsml": by_lstm(params, stream, classes)} | by_rates(stream, classes)
            rows[name].append({who: np.asarray(share) for who, share in found.items()})
        told = {name: float(rows[name][-1]["vsml"]) for name in DATA}
        print(f"seed {seed}: cross-entropy {error[0]:.2f} -> {error[-1]:.2f}, {told}", file=sys.stderr, flush=True)
    results = [{"data": name, **compared(found, known)} for name, found in rows.items()]
    spent = time.perf_counter() - began
    return {"updates": updates, "seeds": seeds, "cross_entropy": errors, "seconds": spent, "results": results}


def compared(found: list[dict[str, np.ndarray]], known: dict[str, int]) -> dict[str, Any]:
    """Means over seeds on one data set, and how far the LSTM is ahead, paired by seed. known: places of the tuned rates."""
    own = np.array([row["vsml"] for row in found])
    row: dict[str, Any] = {"vsml": paired(own)}
    for who, place in known.items():
        shares = np.array([row[who] for row in found])
        best = int(np.argmax(shares.mean(axis=0)))
        for name, at in ((who, place), (f"{who}_with_hindsight", best)):
            row |= {name: paired(shares[:, at]), f"vsml_less_{name}": paired(own - shares[:, at]), f"{name}_rate": RATES[at]}
    return row


def line(row: dict[str, Any]) -> str:
    """A row in words."""
    return f"{row['data']}: " + ", ".join(
        f"{who} {row[who]['mean']:.3f}" for who in ("vsml", "sgd", "adam", "sgd_with_hindsight")
    )


if __name__ == "__main__":
    cloning.command(__doc__, 3000, measure, line)
