# pip install clippy-diag jax optax
import jax
import jax.numpy as jnp
import optax
from clippy_diag.jax import Recorder

params = {"dense": {"kernel": jnp.ones((4, 1)) * 0.1, "bias": jnp.zeros(1)}}  # yours
key = jax.random.PRNGKey(0)
batches = [
    {"x": jax.random.normal(jax.random.fold_in(key, i), (32, 4)), "y": jnp.ones((32, 1))} for i in range(60)
]  # yours


def loss_of(params, batch):
    return ((batch["x"] @ params["dense"]["kernel"] + params["dense"]["bias"] - batch["y"]) ** 2).mean()


optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3, weight_decay=1e-4))
opt_state = optimizer.init(params)
recorder = Recorder(
    "capture",
    optimizer={"name": "adamw", "learning_rate": 1e-3, "weight_decay": 1e-4},  # the state of optax does not tell
    clipping={"rule": "global-norm", "max_norm": 1.0},
)
recorder.capture()  # a drill, to see that all works: take it out later
for step, batch in enumerate(batches):
    loss, grads = jax.value_and_grad(loss_of)(params, batch)
    recorder.record(step, loss, grads, params, opt_state, batch=batch)  # before the update
    updates, opt_state = optimizer.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
recorder.close()
# then: clippy-diag analyze capture
