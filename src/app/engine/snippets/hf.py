# pip install clippy-diag transformers accelerate torch
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
from clippy_diag.huggingface import ClippyCallback

model = GPT2LMHeadModel(GPT2Config(vocab_size=31, n_positions=8, n_embd=16, n_layer=1, n_head=2))  # yours
rows = torch.randint(0, 31, (240, 8))
data = [{"input_ids": row, "labels": row} for row in rows]  # yours

args = TrainingArguments("out", max_steps=60, per_device_train_batch_size=4, max_grad_norm=1.0, report_to=[])
callback = ClippyCallback("capture", batches=True)  # batches may hold personal data: without them no closed loop
callback.capture()  # a drill, to see that all works: take it out later
Trainer(model, args, train_dataset=data, callbacks=[callback]).train()
# then: clippy-diag analyze capture
