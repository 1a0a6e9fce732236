"""Learning-algorithm cloning: an LSTM in every connection imitates back-propagation, then trains networks by running forward.

    pip install scikit-learn
    python benchmarks/cloning.py [--updates 8000] [--seeds 5] [--json]

The connection of neuron a and neuron b has a state of its own, all connections share one LSTM. It ticks twice an example:

    forward    hears z_a, the sum that arrives at a            says w tanh(z_a)
    backward   hears z_a and the error e_b of neuron b         says w e_b tanh'(z_a); then w is w - rate tanh(z_a) e_b

Neurons only add up what their connections say. The LSTM is trained on small random networks and random data, to say at every
tick what back-propagation would, from what a network trained by back-propagation hears. Then it is on its own: its weights
stay as they are, the states are all that changes, and networks of other sizes learn data sets that it never saw, one example at
a time. Success is accuracy on examples held back; beside it are back-propagation with the same rate, order and start,
and an LSTM that was not trained.

Source: Kirsch and Schmidhuber 2021 (VSML, arXiv 2012.14905), section on learning algorithm cloning; their messages have eight
numbers, these have one. There: 87 % (no hidden layer) and 90 % (one) on MNIST.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from openended.comparison import paired
from openended.maps import affine, dense, lstm

UNITS = 16
RATE = 0.05  # of the back-propagation that is imitated
SHAPE = (8, 6, 4)  # inputs, hidden neurons and classes of the networks it is imitated in
NETWORKS, EXAMPLES = 8, 40  # of an update of meta-training
SCALE = 0.4  # of a weight in a state: a state saturates at 1
KEEP = 6.0  # bias of a state: a memory has to last over hundreds of examples
HIDDEN = {"no hidden layer": (), "one of 32": (32,)}

Params = Any
State = tuple[jax.Array, jax.Array]  # h and c, f32[A, B, UNITS]
Weights = list[jax.Array]  # of each layer, f32[A, B]


class Heard(NamedTuple):
    """What one layer hears, and its weights before they change; leading axes for examples and networks."""

    sums: jax.Array  # f32[A] that arrive at its neurons of the side of the inputs
    errors: jax.Array  # f32[B] of its neurons of the other side
    weights: jax.Array  # f32[A, B]


# Back-propagation, one example at a time.


def forward(weights: Weights, inputs: jax.Array) -> list[jax.Array]:
    """The sums that arrive at the neurons of every layer, from the inputs f32[A] to the outputs."""
    sums = [inputs]
    for layer in weights:
        sums.append(jnp.tanh(sums[-1]) @ layer)
    return sums


def taught(weights: Weights, example: tuple[jax.Array, jax.Array], rate: float = RATE) -> tuple[Weights, list[Heard]]:
    """The weights after one example (inputs, label) by gradient descent on the cross-entropy, and what each layer heard."""
    inputs, label = example
    sums = forward(weights, inputs)
    errors, heard, after = jax.nn.softmax(sums[-1]) - jax.nn.one_hot(label, len(sums[-1])), [], []
    for layer, before in zip(reversed(weights), reversed(sums[:-1]), strict=True):
        heard.insert(0, Heard(before, errors, layer))
        after.insert(0, layer - rate * jnp.outer(jnp.tanh(before), errors))
        errors = (layer @ errors) * (1.0 - jnp.square(jnp.tanh(before)))
    return after, heard


def begun(key: jax.Array, shape: tuple[int, ...]) -> Weights:
    """Weights at the start."""
    keys = jax.random.split(key, len(shape) - 1)
    return [jax.random.normal(k, (a, b)) / math.sqrt(a) for k, a, b in zip(keys, shape, shape[1:], strict=False)]


# The LSTM in every connection.


def init(key: jax.Array) -> Params:
    """Parameters of the LSTM and of what it says."""
    first, second = jax.random.split(key)
    return {"gates": dense(first, UNITS + 4, 4 * UNITS), "say": dense(second, UNITS, 2)}


def born(weights: jax.Array) -> State:
    """States of connections with these weights: the first unit's memory holds it."""
    cell = jnp.zeros((*weights.shape, UNITS)).at[..., 0].set(SCALE * weights)
    return jnp.zeros_like(cell), cell


def tick(params: Params, state: State, sums: jax.Array, errors: jax.Array | None) -> tuple[State, jax.Array]:
    """A tick of all connections of a layer, forward without errors; the state after it and what is said, f32[A, B]."""
    hidden, cell = state
    back = errors is not None
    told = jnp.zeros(hidden.shape[1]) if errors is None else errors
    phase = jnp.zeros(2).at[int(back)].set(1.0)
    wide = (*hidden.shape[:2], -1)
    parts = (hidden, sums[:, None, None], told[None, :, None], phase)
    heard = jnp.concatenate([jnp.broadcast_to(part, (*wide[:2], part.shape[-1])) for part in parts], axis=-1)
    hidden, cell = lstm(affine(params["gates"], heard), cell, KEEP)
    return (hidden, cell), affine(params["say"], hidden)[..., int(back)]


def imitation(params: Params, heard: Heard) -> jax.Array:
    """How far one layer's LSTMs are from back-propagation over its examples, axes [T, ...]: squares over mean squares."""

    def example(state: State, now: Heard) -> tuple[State, tuple[jax.Array, jax.Array]]:
        state, ahead = tick(params, state, now.sums, None)
        state, back = tick(params, state, now.sums, now.errors)
        return state, (ahead, back)

    _, (ahead, back) = jax.lax.scan(example, born(heard.weights[0]), heard)
    out = jnp.tanh(heard.sums)[..., None]
    wanted = heard.weights * out, heard.weights * heard.errors[:, None] * (1.0 - jnp.square(out))
    parts = [
        jnp.mean(jnp.square(said - want)) / jnp.mean(jnp.square(want)) for said, want in zip((ahead, back), wanted, strict=True)
    ]
    return parts[0] + parts[1]


def lesson(key: jax.Array) -> list[Heard]:
    """What each layer of one random network hears while back-propagation trains it on random clusters."""
    keys = jax.random.split(key, 4)
    labels = jax.random.randint(keys[0], (EXAMPLES,), 0, SHAPE[-1])
    middles = jax.random.normal(keys[1], (SHAPE[-1], SHAPE[0]))
    inputs = middles[labels] + 0.5 * jax.random.normal(keys[2], (EXAMPLES, SHAPE[0]))
    return jax.lax.scan(taught, begun(keys[3], SHAPE), (inputs, labels))[1]


@functools.partial(jax.jit, static_argnames="updates")
def meta_train(key: jax.Array, updates: int) -> tuple[Params, jax.Array]:
    """The LSTM after so many updates, and the error of each."""
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(3e-3, updates)))

    def loss(params: Params, key: jax.Array) -> jax.Array:
        lessons = jax.vmap(lesson)(jax.random.split(key, NETWORKS))
        return sum(jnp.mean(jax.vmap(imitation, (None, 0))(params, layer)) for layer in lessons)

    def update(carry: Any, key: jax.Array) -> Any:
        params, state = carry
        error, gradient = jax.value_and_grad(loss)(params, key)
        change, state = optimiser.update(gradient, state, params)
        return (optax.apply_updates(params, change), state), error

    first, second = jax.random.split(key)
    params = init(first)
    (params, _), errors = jax.lax.scan(update, (params, optimiser.init(params)), jax.random.split(second, updates))
    return params, errors


# On its own.


def answers(params: Params, states: list[State], inputs: jax.Array) -> tuple[list[State], list[jax.Array]]:
    """States after the forward ticks, and the sums that arrive in every layer."""
    sums, after = [inputs], []
    for state in states:
        state, said = tick(params, state, sums[-1], None)
        after.append(state)
        sums.append(jnp.sum(said, axis=0))
    return after, sums


def learned(params: Params, states: list[State], example: tuple[jax.Array, jax.Array]) -> tuple[list[State], jax.Array]:
    """States after one example, and whether it was answered rightly before."""
    inputs, label = example
    states, sums = answers(params, states, inputs)
    errors, after = jax.nn.softmax(sums[-1]) - jax.nn.one_hot(label, len(sums[-1])), []
    for state, before in zip(reversed(states), reversed(sums[:-1]), strict=True):
        state, said = tick(params, state, before, errors)
        after.insert(0, state)
        errors = jnp.sum(said, axis=1)
    return after, jnp.argmax(sums[-1]) == label


@functools.partial(jax.jit, static_argnames=("hidden", "classes"))
def trial(params: Params, key: jax.Array, data: tuple, hidden: tuple[int, ...], classes: int) -> dict[str, jax.Array]:
    """Accuracy on the last third of the examples after one pass over the others, by the LSTM and by back-propagation."""
    cut = 2 * len(data[0]) // 3
    inputs, labels, others, truth = data[0][:cut], data[1][:cut], data[0][cut:], data[1][cut:]
    start = begun(key, (inputs.shape[1], *hidden, classes))
    states = jax.lax.scan(functools.partial(learned, params), [born(w) for w in start], (inputs, labels))[0]
    weights = jax.lax.scan(taught, start, (inputs, labels))[0]
    by_lstm = jax.vmap(lambda x: answers(params, states, x)[1][-1])(others)
    by_gradient = jax.vmap(lambda x: forward(weights, x)[-1])(others)
    return {name: jnp.mean(jnp.argmax(out, axis=1) == truth) for name, out in (("cloned", by_lstm), ("backprop", by_gradient))}


def stream(name: str, seed: int) -> tuple[jax.Array, jax.Array]:
    """A data set of scikit-learn in a random order, standardised, with a constant input: inputs f32[N, A], labels i32[N]."""
    from sklearn import datasets

    inputs, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
    inputs = (inputs - inputs.mean(axis=0)) / (inputs.std(axis=0) + 1e-6)
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(labels))
    return jnp.asarray(inputs[order]), jnp.asarray(labels[order])


def measure(updates: int, seeds: int) -> dict[str, Any]:
    """Accuracies with 95 % intervals over seeds, each with an LSTM, a start and a split of its own."""
    rows: dict[tuple[str, str], list[dict[str, float]]] = {}
    errors, began = [], time.perf_counter()
    for seed in range(seeds):
        key = jax.random.key(seed)
        params, error = meta_train(key, updates)
        errors.append([float(error[:10].mean()), float(error[-10:].mean())])
        for name in ("digits", "wine", "breast_cancer"):
            data = stream(name, seed)
            classes = int(data[1].max()) + 1
            for words, hidden in HIDDEN.items():
                found = trial(params, key, data, hidden, classes)
                fresh = trial(init(key), key, data, hidden, classes)["cloned"]
                row = {learner: float(share) for learner, share in (found | {"untrained": fresh}).items()}
                rows.setdefault((name, words), []).append(row)
        print(
            f"seed {seed}: error {errors[-1][0]:.2f} -> {errors[-1][1]:.4f}, {rows['digits', 'one of 32'][-1]}",
            file=sys.stderr,
            flush=True,
        )
    results = [
        {"data": name, "network": words, **{learner: paired(np.array([row[learner] for row in found])) for learner in found[0]}}
        for (name, words), found in rows.items()
    ]
    return {
        "updates": updates,
        "seeds": seeds,
        "imitation_error": errors,
        "seconds": time.perf_counter() - began,
        "results": results,
    }


def command(about: str | None, updates: int, measure: Callable[[int, int], Any], told: Callable[[Any], str]) -> None:
    """A command that measures, and prints a line for each row of the results, or all as JSON."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=updates)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if importlib.util.find_spec("sklearn") is None:  # said before minutes of training
        parser.error("the data sets are those of scikit-learn, which is not installed: pip install scikit-learn")
    found = measure(options.updates, options.seeds)
    print(json.dumps(found, indent=1) if options.json else "\n".join(map(told, found["results"])))


def line(row: dict[str, Any]) -> str:
    """A row in words."""
    parts = (f"{who} {row[who]['mean']:.3f}" for who in ("cloned", "backprop", "untrained"))
    return f"{row['data']}, {row['network']}: {', '.join(parts)}"


if __name__ == "__main__":
    command(__doc__, 8000, measure, line)
