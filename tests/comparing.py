"""What tests that compare physics share."""

import jax
import jax.numpy as jnp

# For programs that run for a second or two: what the compiler would gain there it loses many times over;
# not so with contacts in mjx, whose solver iterates.
HASTE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def widened(tree):
    """The same in the precision that holds now."""
    kind = jnp.zeros(()).dtype
    return jax.tree.map(lambda x: jnp.asarray(x, kind) if jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating) else x, tree)
