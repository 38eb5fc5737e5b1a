# pip install clippy-diag torch
import torch
from clippy_diag.torch import Recorder

model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))  # yours
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)  # yours, any
batches = [{"x": torch.randn(32, 4), "y": torch.randn(32, 1)} for _ in range(60)]  # yours

max_norm = 1.0
recorder = Recorder(model, optimizer, "capture", clipping={"rule": "global-norm", "maxNorm": max_norm})
recorder.capture()  # a drill, to see that all works: take it out later
for step, batch in enumerate(batches):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(batch["x"]), batch["y"])
    loss.backward()
    recorder.record(step, loss, batch=batch)  # after backward(), before clipping and step()
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
recorder.close()
# then: clippy-diag analyze capture
