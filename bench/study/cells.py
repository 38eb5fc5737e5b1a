"""Cells of a study a minute of processor time in PyTorch: python3 cells.py. See cells.ts.

Batched: 64 cells at once by bmm, their own Adagrad (and Clippy) on [cells, …] tensors. One by one: a loop. One thread. """

import time

import torch

BATCH, STEPS, UNITS, TOWERS = 128, 56, [16, 32, 32, 32], 3


def shapes():
    for a, b in zip(UNITS, UNITS[1:]):
        yield (a, b), (b,)
    for _ in range(TOWERS):
        yield (32, 8), (8,)
        yield (8, 1), (1,)


def train(cells, clippy):
    lead = (cells,) if cells > 1 else ()
    ws = []
    for kernel, bias in shapes():
        ws.append((torch.rand(*lead, *kernel) * 2 - 1) * (6 / kernel[0]) ** 0.5)
        ws.append(torch.zeros(*lead, *bias))
    ws = [w.requires_grad_(True) for w in ws]
    sums = [torch.full_like(w, 0.1) for w in ws]
    rows = torch.randn(STEPS * BATCH, 16)
    labels = (torch.rand(STEPS * BATCH, TOWERS) > 0.5).float()
    mul = torch.bmm if cells > 1 else torch.mm
    bce = torch.nn.functional.binary_cross_entropy_with_logits

    def dense(x, i):
        b = ws[2 * i + 1]
        return mul(x, ws[2 * i]) + (b.unsqueeze(1) if cells > 1 else b)

    for step in range(STEPS):
        x = rows[step * BATCH : (step + 1) * BATCH]
        h = x.expand(cells, -1, -1) if cells > 1 else x
        for i in range(3):
            h = torch.relu(dense(h, i))
        loss = 0
        for t in range(TOWERS):
            z = dense(torch.relu(dense(h, 3 + 2 * t)), 4 + 2 * t).squeeze(-1)
            y = labels[step * BATCH : (step + 1) * BATCH, t].expand_as(z)
            loss = loss + (((z - y) ** 2).mean(-1).sum() if t == 1 else bce(z, y, reduction="none").mean(-1).sum())
        with torch.no_grad():
            for w, g, total in zip(ws, torch.autograd.grad(loss, ws), sums):
                total.addcmul_(g, g)
                update = 0.1 * g / (total + 1e-7).sqrt()
                if clippy:
                    ratio = (0.5 * w.abs() + 0.01) / update.abs()
                    axes = list(range(1 if cells > 1 else 0, w.dim()))
                    update = update * ratio.amin(axes, keepdim=True).clamp(max=1)
                w -= update


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(torch.__version__)
    for name, cells, rounds in (("batched", 64, 3), ("one by one", 1, 5)):
        for clippy in (False, True):
            train(cells, clippy)
            rates = []
            for _ in range(rounds):
                start = time.process_time()
                train(cells, clippy)
                rates.append(60 * cells / (time.process_time() - start))
            rates.sort()
            print(f"{name}, {'clippy' if clippy else 'none'}: {rates[len(rates) // 2]:.0f} ({rates[0]:.0f} to {rates[-1]:.0f})")
