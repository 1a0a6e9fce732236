"""Variable shared meta-learning: one small LSTM, the same for every pair of a sensor and a motor, each with a state of its own.

The state ``(h_ij, c_ij)`` of sensor i and motor j is a weight that the LSTM learns as it goes. At every step it hears what the
sensor feels and how that changed, what the motor did, the reward, and the means of its neighbours' states:

    m_j = sum_i s_i h_ij          forward, from the sensors to the motor
    n_i = sum_j a_j h_ij          backward, from the motors to the sensor
    h_ij, c_ij <- LSTM(h_ij, c_ij; o_i, change_i, n_i, action_j, m_j, reward, first)
    action_j ~ N(actor(sum_i s_i h_ij), sigma),   value = critic(sum_ij s_i a_j h_ij)

with ``s_i = 1 / sqrt(sensors)`` for those that exist and likewise ``a_j``. Sums make it blind to their order, and the weights
do not depend on their number: what was learned in one body goes on in any other, without padding. What a sensor is for has to
be found out from what happens, in every lifetime anew.

Sources: Kirsch and Schmidhuber 2021 (VSML, arXiv 2012.14905), and for reinforcement learning Kirsch et al. 2022 ("Introducing
symmetries to black box meta reinforcement learning", arXiv 2109.10781). Here sums are scaled by roots of counts, and a
critic is added for PPO.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from openended.maps import affine, dense, gated, lstm
from openended.networks import HISTORY, LOG_STD, SCALE, AbstractPolicy, remembers, sized
from openended.types import Output, Params, Percept

State = tuple[jax.Array, jax.Array]  # h and c, f32[W, A, units]


@dataclasses.dataclass(frozen=True)
class SharedPolicy(AbstractPolicy):
    """Gaussian policy and value of a lifetime; as `openended.networks.Policy`, with the same weights for any body.

    Raises ValueError where a size is no whole number of at least 1, or another memory is asked for.
    """

    observation: int
    actions: int
    memory: str = "vsml"
    units: int = 16
    width: int = 32

    def __post_init__(self) -> None:
        remembers(self, "vsml")
        sized(self, "units", "width")

    def fitted(self, observation: int, actions: int) -> SharedPolicy:
        """The same policy in another layout; it takes the same parameters."""
        return dataclasses.replace(self, observation=observation, actions=actions)

    def init(self, key: jax.Array) -> Params:
        """Parameters, of the same shapes for any numbers of sensors and motors."""
        keys, gates = jax.random.split(key, 6), 4 * self.units
        return {
            "sensor": dense(keys[0], 2 + self.units, gates)["w"],
            "motor": dense(keys[1], HISTORY + self.units, gates)["w"],
            "common": dense(keys[2], 2, gates),
            "state": dense(keys[3], self.units, gates)["w"],
            "body": dense(keys[4], self.units, 2 * self.width, math.sqrt(2.0)),
            "actor": dense(keys[5], self.width, 1, 0.01),
            "pool": dense(jax.random.fold_in(key, 0), self.units, 2 * self.width, math.sqrt(2.0)),
            "critic": dense(jax.random.fold_in(key, 1), self.width, 1, 1.0),
            "log_std": jnp.full((), -0.5, jnp.float32),
        }

    def initial_memory(self, params: Params) -> State:
        """States at birth."""
        nothing = jnp.zeros((self.observation, self.actions, self.units))
        return nothing, nothing

    def step(self, params: Params, memory: State, percept: Percept) -> tuple[State, Output]:
        """One percept."""
        sensors, motors = _shares(percept.sensed), _shares(percept.motors)
        hidden, cell = memory
        forward = jnp.einsum("w,wau->au", sensors, hidden)
        backward = jnp.einsum("a,wau->wu", motors, hidden)
        felt = jnp.concatenate([percept.observation[:, None], SCALE * percept.change[:, None], backward], axis=1)
        done = jnp.concatenate([percept.action.reshape(HISTORY, self.actions).T, forward], axis=1)
        common = affine(params["common"], jnp.stack([SCALE * percept.reward, percept.first]))
        gates = (felt @ params["sensor"])[:, None] + (done @ params["motor"])[None] + hidden @ params["state"] + common
        shown, held = lstm(gates, cell)
        hidden, cell = jnp.where(percept.live > 0, shown, hidden), jnp.where(percept.live > 0, held, cell)
        return (hidden, cell), self._output(params, jnp.einsum("w,wau->au", sensors, hidden), motors)

    def sequence(self, params: Params, percepts: Percept) -> Output:
        """Lifetimes, percepts [B, T, ...] -> outputs [B, T, ...], each from the states at birth; one step after the other."""
        bodies = percepts.sensed[:, 0], percepts.motors[:, 0]
        steps = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), percepts._replace(sensed=None, motors=None))

        def step(memory: State, percept: Percept) -> tuple[State, Output]:
            whole = percept._replace(sensed=bodies[0], motors=bodies[1])
            return jax.vmap(self.step, in_axes=(None, 0, 0))(params, memory, whole)

        outputs = jax.lax.scan(step, self.births(params, len(percepts.live)), steps)[1]
        return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), outputs)

    def _output(self, params: Params, pooled: jax.Array, motors: jax.Array) -> Output:
        mean = affine(params["actor"], gated(params["body"], pooled))[:, 0]
        value = affine(params["critic"], gated(params["pool"], motors @ pooled))[0]
        return Output(mean, jnp.broadcast_to(jnp.clip(params["log_std"], *LOG_STD), mean.shape), value)


def _shares(exists: Any) -> jax.Array:
    """1 / sqrt(how many exist) for those, 0 for the others: sums keep their size in any body."""
    return exists * jax.lax.rsqrt(jnp.maximum(jnp.sum(exists), 1.0))
