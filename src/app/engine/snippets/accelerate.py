# pip install clippy-diag accelerate torch
import torch
from accelerate import Accelerator
from clippy_diag.accelerate import ClippyCallback

accelerator = Accelerator()
model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))  # yours
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)  # yours, any
data = torch.utils.data.TensorDataset(torch.randn(480, 4), torch.randn(480, 1))  # yours
model, optimizer, loader = accelerator.prepare(model, optimizer, torch.utils.data.DataLoader(data, batch_size=8))

callback = ClippyCallback("capture", batches=True)  # batches may hold personal data: without them no closed loop
callback.attach(accelerator)
callback.capture()  # a drill, to see that all works: take it out later
for x, y in loader:
    with accelerator.accumulate(model):
        callback.batch({"x": x, "y": y})
        loss = torch.nn.functional.mse_loss(model(x), y)
        accelerator.backward(loss)
        if accelerator.sync_gradients:
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
callback.close()
# then: clippy-diag analyze capture
