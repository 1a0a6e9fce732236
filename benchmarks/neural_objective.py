"""MetaGenRL: an objective for policies that is itself learned, by agents in some families, for fresh agents in others.

    python benchmarks/neural_objective.py [--train navigator,cartpole] [--test reacher,pusher,swimmer]
        [--meta 2000 | --runs RUN,RUN,...] [--iterations 300] [--seeds 5] [--json]

An agent has one task, a policy a = pi(s), a critic Q(s, a) and a memory of its episodes. Its policy follows the gradient of a
neural objective L, an LSTM that runs backwards over a segment of an episode and hears reward, time, the values V(s) =
Q(s, pi(s)) now and next and, for every motor, the pair of the action that was taken and the action of today's policy. It never
sees the observation, so that it fits any body. It is trained by second-order gradients through one step of the policy,

    alpha <- alpha + rate grad_alpha Q(s, pi'(s)),      pi' = pi - step grad_pi L_alpha(segment, pi, V),

as the critics of a population judge it. Half of the population follows the critic's own gradient meanwhile: an objective that
is still random drives policies to where no gradient is left. Then it stays as it is, and fresh agents learn by it in families
that it never met, beside agents that follow rules made by hand in the same harness: the gradient of the critic (DDPG), PPO and
REINFORCE, both with a Gaussian around the policy, and beside a random objective. Success is that of the episodes as they are
played, noise of exploration included.

``--runs``: the objectives come from runs of `openended train learner=metagenrl` in these families, one for each seed, where
they were learned for something else: to change a policy once between two episodes of a lifetime. There they heard the episode
that was just played, and so they do here: segments are those of an agent's newest episodes.

Source: Kirsch, van Steenkiste and Schmidhuber 2020 (arXiv 1910.04098). Sizes there: LSTM 32, MLPs of 32, segments of 20, 20
agents; here 8 agents of each family, half of them reborn in other tasks now and then, so that the objective meets beginners.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from envs.base import AbstractFamily
from openended import configuration, subjects, suites
from openended.comparison import paired
from openended.locate import find_run
from openended.maps import affine, dense
from openended.metagenrl import SCALE, Segment, objective, objective_init

AGENTS = 8  # of a family
EPISODES = 4  # that an agent plays in an iteration
KEPT = 256  # episodes in its memory
UPDATES, BATCH, SEGMENT = 8, 16, 20  # of an iteration; segments of an update; steps of a segment
NOISE = 0.2  # of actions
DISCOUNT, TRACKING = 0.95, 0.01  # tracking: of the target networks, per update
POLICY, CRITIC, LSTM, PAIR = 32, 64, 32, 16  # widths
STEP = 0.03  # length of the step of the policy by which the objective is judged
RATES = {"policy": 1e-3, "critic": 2e-3, "objective": 3e-3}
CLIP = 0.2  # of PPO
RULES = ("random", "ddpg", "ppo", "reinforce")  # beside the objective that was learned
LEARNED, IN_LIFETIMES = "metagenrl", "metagenrl_in_lifetimes"  # by critics of agents; in runs
NEWEST = ("ppo", "reinforce", IN_LIFETIMES)  # what asks how the policy of today did

Params = Any


class Episode(NamedTuple):
    """Axes [..., T]; ``seen`` and ``time`` have one more step, the end."""

    seen: jax.Array  # f32[T + 1, W]
    time: jax.Array  # f32[T + 1] share of the longest episode
    action: jax.Array  # f32[T, A]
    mean: jax.Array  # f32[T, A] of the policy that acted
    reward: jax.Array  # f32[T]
    running: jax.Array  # f32[T] 1 up to the time limit


class Agent(NamedTuple):
    """What one agent carries from iteration to iteration."""

    vector: jax.Array  # f32[D] its task
    motors: jax.Array  # f32[A] 1 where an action drives a motor
    nets: dict[str, Params]  # policy, critic, and the targets of both
    optimisers: dict[str, Any]
    memory: Episode  # [KEPT, T]
    played: jax.Array  # i32[] episodes so far
    led: jax.Array  # bool[] whether it follows the critic's gradient while the objective is learned
    agreement: jax.Array  # f32[] cosine between the objective's last gradient and the critic's


# Networks.


def mlp(key: jax.Array, *widths: int, last: float = 0.1) -> list[Params]:
    """Parameters of affine maps with tanh between them; last: scale of the last one."""
    keys = jax.random.split(key, len(widths) - 1)
    scales = [math.sqrt(2.0)] * (len(widths) - 2) + [last]
    return [dense(k, a, b, scale) for k, a, b, scale in zip(keys, widths, widths[1:], scales, strict=False)]


def apply(layers: list[Params], x: jax.Array) -> jax.Array:
    """The network's answer."""
    for layer in layers[:-1]:
        x = jnp.tanh(affine(layer, x))
    return affine(layers[-1], x)


def acted(policy: Params, seen: jax.Array, when: jax.Array) -> jax.Array:
    """The policy's action f32[..., A]."""
    return jnp.tanh(apply(policy, jnp.concatenate([seen, when[..., None]], axis=-1)))


def judged(critic: Params, seen: jax.Array, when: jax.Array, action: jax.Array) -> jax.Array:
    """Q f32[...]."""
    return apply(critic, jnp.concatenate([seen, when[..., None], action], axis=-1))[..., 0]


def heard(alpha: Params, part: Episode, values: jax.Array, motors: jax.Array, now: jax.Array) -> jax.Array:
    """L of one segment; values: f32[S + 1]; now: actions f32[S, A] of today's policy, through which gradients flow."""
    segment = Segment(part.action, part.reward, part.time[:-1], values / SCALE, part.running)
    return objective(alpha, segment, motors, now, jnp.full_like(motors, NOISE))


# An agent.


def optimiser(name: str) -> optax.GradientTransformation:
    """Of policy, critic or objective."""
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(RATES[name]))


def born(family: AbstractFamily, vector: jax.Array, key: jax.Array) -> Agent:
    """A fresh agent in a task."""
    first, second = jax.random.split(key)
    wide, actions, steps = family.layout.observation, family.layout.actions, family.episode_steps
    policy, critic = mlp(first, wide + 1, POLICY, POLICY, actions), mlp(second, wide + 1 + actions, CRITIC, CRITIC, 1)
    nothing = (
        jnp.zeros((KEPT, steps, actions)),
        jnp.zeros((KEPT, steps, actions)),
        jnp.zeros((KEPT, steps)),
        jnp.zeros((KEPT, steps)),
    )
    memory = Episode(jnp.zeros((KEPT, steps + 1, wide)), jnp.zeros((KEPT, steps + 1)), *nothing)
    nets = {"policy": policy, "critic": critic, "policy_target": policy, "critic_target": critic}
    optimisers = {name: optimiser(name).init(nets[name]) for name in ("policy", "critic")}
    motors = family.action_mask(family.prepare(vector))
    return Agent(vector, motors, nets, optimisers, memory, jnp.zeros((), jnp.int32), jnp.zeros((), bool), jnp.zeros(()))


def play(family: AbstractFamily, agent: Agent, key: jax.Array) -> tuple[Agent, jax.Array]:
    """The agent after more episodes, and the share of them that it solved."""
    model, steps = family.prepare(agent.vector), family.episode_steps

    def episode(key: jax.Array) -> tuple[Episode, jax.Array]:
        reset_key, noise_key = jax.random.split(key)
        noise = NOISE * jax.random.normal(noise_key, (steps, family.layout.actions))

        def step(carry: Any, inputs: Any) -> Any:
            state, now = carry
            i, more = inputs
            when = i / steps
            mean = acted(agent.nets["policy"], now.observation, when)
            action = jnp.clip(mean + more, -1.0, 1.0)
            state, then = family.step(model, state, action)
            record = (now.observation, when, action, mean, then.reward, then.running.astype(jnp.float32))
            return (state, then), record

        (_, end), (seen, when, *rest) = jax.lax.scan(step, family.reset(model, reset_key), (jnp.arange(steps) * 1.0, noise))
        seen, when = jnp.concatenate([seen, end.observation[None]]), jnp.append(when, 1.0)
        return Episode(seen, when, *rest), end.success

    made, solved = jax.vmap(episode)(jax.random.split(key, EPISODES))
    places = (agent.played + jnp.arange(EPISODES)) % KEPT
    memory = jax.tree.map(lambda kept, new: kept.at[places].set(new), agent.memory, made)
    return agent._replace(memory=memory, played=agent.played + EPISODES), jnp.mean(solved)


def parts(agent: Agent, key: jax.Array, newest: bool) -> Episode:
    """Segments [BATCH, SEGMENT] of its episodes; newest: of those of this iteration."""
    which, where = jax.random.split(key)
    count = jnp.minimum(agent.played, KEPT)
    some = jax.random.randint(which, (BATCH,), 0, EPISODES if newest else count)
    rows = (agent.played - 1 - some) % KEPT
    steps = agent.memory.reward.shape[1]
    starts = jax.random.randint(where, (BATCH,), 0, steps - SEGMENT + 1)

    def cut(kept: jax.Array) -> jax.Array:
        length = SEGMENT + kept.shape[1] - steps
        return jax.vmap(lambda row, start: jax.lax.dynamic_slice_in_dim(kept[row], start, length))(rows, starts)

    return jax.tree.map(cut, agent.memory)


def average(x: jax.Array, part: Episode) -> jax.Array:
    """Mean over running steps."""
    return jnp.sum(x * part.running) / (jnp.sum(part.running) + 1e-6)


def critic_step(agent: Agent, part: Episode) -> Agent:
    """One step of temporal differences, and of the targets."""
    nets = agent.nets
    then = part.seen[:, 1:], part.time[:, 1:]
    ahead = judged(nets["critic_target"], *then, acted(nets["policy_target"], *then))
    goes_on = jnp.concatenate([part.running[:, 1:], part.running[:, -1:]], axis=1) * (part.time[:, 1:] < 1.0)
    target = SCALE * part.reward + DISCOUNT * goes_on * ahead

    def loss(critic: Params) -> jax.Array:
        return average(jnp.square(judged(critic, part.seen[:, :-1], part.time[:, :-1], part.action) - target), part)

    change, state = optimiser("critic").update(jax.grad(loss)(nets["critic"]), agent.optimisers["critic"], nets["critic"])
    nets = nets | {"critic": optax.apply_updates(nets["critic"], change)}
    targets = {
        f"{name}_target": optax.incremental_update(nets[name], nets[f"{name}_target"], TRACKING)
        for name in ("policy", "critic")
    }
    return agent._replace(nets=nets | targets, optimisers=agent.optimisers | {"critic": state})


def values_of(agent: Agent, part: Episode) -> jax.Array:
    """V f32[BATCH, S + 1] by the agent's critic and policy."""
    return judged(agent.nets["critic"], part.seen, part.time, acted(agent.nets["policy"], part.seen, part.time))


def worth(agent: Agent, policy: Params, part: Episode) -> jax.Array:
    """What the critic thinks of a policy."""
    seen, when = part.seen[:, :-1], part.time[:, :-1]
    return average(judged(agent.nets["critic"], seen, when, acted(policy, seen, when)), part)


def loss_of(rule: str, alpha: Params, agent: Agent, part: Episode) -> Callable[[Params], jax.Array]:
    """What a rule has the policy minimise on some segments."""
    values = values_of(agent, part)
    gain = jax.vmap(returns_to_go)(part, values) - values[:, :-1]
    gain = gain / (jnp.sqrt(average(jnp.square(gain), part)) + 1e-3)

    def now(policy: Params) -> jax.Array:
        return acted(policy, part.seen[:, :-1], part.time[:, :-1])

    def log_density(mean: jax.Array) -> jax.Array:
        return -0.5 * jnp.einsum("bsa,a->bs", jnp.square((part.action - mean) / NOISE), agent.motors)

    def by_objective(policy: Params) -> jax.Array:
        return jnp.mean(jax.vmap(heard, (None, 0, 0, None, 0))(alpha, part, values, agent.motors, now(policy)))

    def by_ratio(policy: Params) -> jax.Array:
        ratio = jnp.exp(log_density(now(policy)) - log_density(part.mean))
        return -average(jnp.minimum(ratio * gain, jnp.clip(ratio, 1.0 - CLIP, 1.0 + CLIP) * gain), part)

    rules = {
        "ddpg": lambda policy: -worth(agent, policy, part),
        "reinforce": lambda policy: -average(log_density(now(policy)) * gain, part),
        "ppo": by_ratio,
    }
    return rules.get(rule, by_objective)


def returns_to_go(part: Episode, values: jax.Array) -> jax.Array:
    """f32[S], with the value at the end of the segment."""

    def back(later: jax.Array, inputs: Any) -> Any:
        reward, running = inputs
        total = running * (SCALE * reward + DISCOUNT * later)
        return total, total

    last = values[-1] * (part.time[-1] < 1.0)
    return jax.lax.scan(back, last, (part.reward, part.running), reverse=True)[1]


def learn(rule: str, alpha: Params, agent: Agent, key: jax.Array, meta: bool) -> tuple[Agent, Params]:
    """One update of critic and policy; the gradient of the objective, if ``meta``."""
    first, second = jax.random.split(key)
    agent = critic_step(agent, parts(agent, first, newest=False))
    part = parts(agent, second, newest=rule in NEWEST)

    def slope(alpha: Params, rule: str = rule) -> Params:  # its direction alone: how large an objective is says nothing
        found = jax.grad(loss_of(rule, alpha, agent, part))(agent.nets["policy"])
        length = jnp.sqrt(optax.tree.vdot(found, found) + 1e-12)  # not the norm, whose own gradient is not a number at 0
        return jax.tree.map(lambda g: g / length, found)

    def after(direction: Params) -> Agent:
        change, state = optimiser("policy").update(direction, agent.optimisers["policy"], agent.nets["policy"])
        nets = agent.nets | {"policy": optax.apply_updates(agent.nets["policy"], change)}
        return agent._replace(nets=nets, optimisers=agent.optimisers | {"policy": state})

    def judged_step(alpha: Params) -> tuple[jax.Array, Params]:
        own = slope(alpha)
        policy = jax.tree.map(lambda weight, g: weight - STEP * g, agent.nets["policy"], own)
        return -worth(agent, policy, part), own

    if not meta:
        return after(slope(alpha)), None
    gradient, own = jax.grad(judged_step, has_aux=True)(alpha)
    critic = slope(alpha, "ddpg")
    direction = jax.tree.map(lambda a, b: jnp.where(agent.led, a, b), critic, own)
    return after(direction)._replace(agreement=optax.tree.vdot(own, critic)), gradient


# Populations.


def population(family: AbstractFamily, vectors: jax.Array, key: jax.Array) -> Agent:
    """Fresh agents, one in each task."""
    return jax.vmap(functools.partial(born, family))(vectors, jax.random.split(key, len(vectors)))


@functools.cache
def begin(family: AbstractFamily) -> Callable[[jax.Array, jax.Array], Agent]:
    """`population` as one program."""
    return jax.jit(functools.partial(population, family))


class Meta(NamedTuple):
    """The objective, its optimiser, and the agents of each family."""

    alpha: Params
    optimiser: Any
    agents: dict[str, Agent]


def iteration(families: dict[str, AbstractFamily], rule: str, meta: bool, state: Meta, key: jax.Array) -> tuple[Meta, Any]:
    """Every agent plays and learns; solved shares f32[AGENTS] by family."""
    agents, solved = {}, {}
    for i, (name, family) in enumerate(families.items()):
        keys = jax.random.split(jax.random.fold_in(key, i), len(state.agents[name].played))
        agents[name], solved[name] = jax.vmap(functools.partial(play, family))(state.agents[name], keys)

    def update(state: Meta, key: jax.Array) -> tuple[Meta, None]:
        found, gradients = {}, []
        for i, name in enumerate(families):
            keys = jax.random.split(jax.random.fold_in(key, i), len(state.agents[name].played))
            each = jax.vmap(lambda agent, k: learn(rule, state.alpha, agent, k, meta))
            found[name], gradient = each(state.agents[name], keys)
            gradients.append(gradient)
        if not meta:
            return state._replace(agents=found), None
        mean = jax.tree.map(lambda *parts: jnp.mean(jnp.concatenate(parts), axis=0), *gradients)
        change, moments = optimiser("objective").update(mean, state.optimiser, state.alpha)
        return Meta(optax.apply_updates(state.alpha, change), moments, found), None

    state, _ = jax.lax.scan(update, state._replace(agents=agents), jax.random.split(jax.random.fold_in(key, 99), UPDATES))
    return state, solved


def tasks_of(names: list[str]) -> tuple[dict[str, AbstractFamily], dict[str, np.ndarray]]:
    """Families of one layout, and tasks of each with visible goals, drawn at random: those of the suite `sampled`."""
    families = configuration.families(configuration.read([f"family=[{','.join(names)}]", "interface=signs"]))
    suite, _ = suites.held_out("sampled", families)
    return families, {
        name: np.stack([task.vector for task in suite if task.family == name and task.group == "visible"]) for name in names
    }


def meta_train(
    families: dict[str, AbstractFamily], tasks: dict[str, np.ndarray], iterations: int, seed: int
) -> tuple[Params, Any]:
    """An objective, and the solved share of its agents by iteration; every so often half of them are born again."""
    rng, key = np.random.default_rng(seed), jax.random.key(seed)

    def fresh(name: str, number: int) -> Agent:
        rows = rng.choice(len(tasks[name]), AGENTS)
        agents = begin(families[name])(jnp.asarray(tasks[name][rows]), jax.random.fold_in(key, number))
        return agents._replace(led=jnp.arange(AGENTS) < AGENTS // 2)

    alpha = objective_init(key, LSTM, PAIR)
    state = Meta(alpha, optimiser("objective").init(alpha), {name: fresh(name, i) for i, name in enumerate(families)})
    run = jax.jit(functools.partial(iteration, families, LEARNED, True))
    curve = []
    for i in range(iterations):
        state, solved = run(state, jax.random.fold_in(key, 1000 + i))
        curve.append(float(np.mean([np.mean(x) for x in solved.values()])))
        if i % 25 == 24:
            print(f"  meta {i + 1}: {_told(state, solved)}", file=sys.stderr, flush=True)
        if i % 100 == 99:
            state = state._replace(
                agents={name: _mixed(fresh(name, 10 * i), state.agents[name], i // 100) for name in families}
            )
    return state.alpha, curve


def _told(state: Meta, solved: dict[str, Any]) -> str:
    """Success and cosine of the agents that the critic leads, and of those that follow the objective."""
    rates = np.concatenate([np.asarray(x).reshape(2, -1) for x in solved.values()], axis=1).mean(axis=1)
    cosines = np.concatenate([np.asarray(agents.agreement).reshape(2, -1) for agents in state.agents.values()], axis=1)
    led, own = (f"{rate:.2f} (cosine {cosine:.2f})" for rate, cosine in zip(rates, cosines.mean(axis=1), strict=True))
    return f"solved, led by the critic {led}, by the objective {own}"


def _mixed(new: Agent, old: Agent, turn: int) -> Agent:
    """Every other agent is new, the others in the next turn."""
    which = jnp.arange(AGENTS) % 2 == turn % 2
    return jax.tree.map(lambda a, b: jnp.where(which.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)


@functools.cache
def alone(family: AbstractFamily, rule: str) -> Callable[[Meta, jax.Array], tuple[Meta, Any]]:
    """An iteration of agents of one family by a rule, one program for all seeds."""
    return jax.jit(functools.partial(iteration, {family.name: family}, rule, False))


def trial(families: dict, tasks: dict, name: str, rule: str, alpha: Params, iterations: int, seed: int) -> list[float]:
    """Solved share by iteration of fresh agents in a family, by one rule."""
    rng = np.random.default_rng(seed)
    vectors = jnp.asarray(tasks[name][rng.choice(len(tasks[name]), 2 * AGENTS, replace=len(tasks[name]) < 2 * AGENTS)])
    key = jax.random.key(1_000_000 + seed)
    state = Meta(alpha, (), {name: begin(families[name])(vectors, key)})
    curve = []
    for i in range(iterations):
        state, solved = alone(families[name], rule)(state, jax.random.fold_in(key, i))
        curve.append(float(jnp.mean(solved[name])))
    return curve


def of_run(name: str) -> tuple[Params, list[float]]:
    """The objective of a run, which has no curve here."""
    params = subjects.restore(find_run(name)).trained
    if "objective" not in params:
        raise SystemExit(f"The run '{name}' has no objective; allowed: runs of learner=metagenrl.")
    return params["objective"], []


def measure(
    trained: list[str], tested: list[str], sizes: tuple[int, int, int], runs: list[str] | None = None
) -> dict[str, Any]:
    """Solved shares in the last tenth of the iterations, with 95 % intervals over seeds, and all curves.

    sizes: iterations of meta-training and of a trial, seeds. runs: where the objectives come from, if not from meta-training.
    """
    meta, iterations, seeds = sizes
    families, tasks = tasks_of(list(dict.fromkeys([*tested, *([] if runs else trained)])))
    own = IN_LIFETIMES if runs else LEARNED
    curves: dict[str, dict[str, list[list[float]]]] = {name: {rule: [] for rule in (own, *RULES)} for name in tested}
    learned, last = [], iterations // 10 or 1
    for seed in range(seeds):
        if runs:
            alpha, curve = of_run(runs[seed])
        else:
            alpha, curve = meta_train({name: families[name] for name in trained}, tasks, meta, seed)
        learned.append(curve)
        for name in tested:
            for rule in curves[name]:
                start = alpha if rule == own else objective_init(jax.random.key(1000 + seed), LSTM, PAIR)
                curves[name][rule].append(trial(families, tasks, name, rule, start, iterations, seed))
            told = ", ".join(f"{rule} {np.mean(found[-1][-last:]):.2f}" for rule, found in curves[name].items())
            print(f"seed {seed}, {name}: {told}", file=sys.stderr, flush=True)
    ends = {
        name: {rule: paired(np.array(found)[:, -last:].mean(axis=1)) for rule, found in by.items()}
        for name, by in curves.items()
    }
    return {
        "trained": trained,
        "meta": runs or meta,
        "meta_curves": learned,
        "iterations": iterations,
        "success": ends,
        "curves": curves,
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", default="navigator,cartpole")
    parser.add_argument("--test", default="reacher,pusher,swimmer")
    parser.add_argument("--meta", type=int, default=2000)
    parser.add_argument("--runs", help="runs of learner=metagenrl, one for each seed")
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runs = options.runs.split(",") if options.runs else None
    sizes = options.meta, options.iterations, len(runs) if runs else options.seeds
    found = measure(options.train.split(","), options.test.split(","), sizes, runs)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for name, by in found["success"].items():
        print(f"{name}: " + ", ".join(f"{rule} {level['mean']:.2f}" for rule, level in by.items()))


if __name__ == "__main__":
    main()
