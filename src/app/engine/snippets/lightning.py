# pip install clippy-diag lightning torch
import lightning
import torch
from clippy_diag.lightning import ClippyCallback


class Net(lightning.LightningModule):  # yours
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))

    def training_step(self, batch, index):
        x, y = batch
        return torch.nn.functional.mse_loss(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


data = torch.utils.data.TensorDataset(torch.randn(480, 4), torch.randn(480, 1))  # yours
callback = ClippyCallback("capture", batches=True)  # batches may hold personal data: without them no closed loop
callback.capture()  # a drill, to see that all works: take it out later
trainer = lightning.Trainer(max_steps=60, gradient_clip_val=1.0, callbacks=[callback], logger=False, accelerator="cpu")
trainer.fit(Net(), torch.utils.data.DataLoader(data, batch_size=8))
# then: clippy-diag analyze capture
