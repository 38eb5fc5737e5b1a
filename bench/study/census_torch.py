"""Census income by a loop of PyTorch: python3 census_torch.py census.csv [seeds]. The net, the rows and the rules of census.yaml.

AUC of income by rule and learning rate, mean ± sd over the seeds. `clippy:paper, one factor` is Clippy with the smallest factor of
all tensors for every tensor; the paper has one for each. """

import csv
import sys
from pathlib import Path

import torch
import yaml

DIM, BATCH, TRAIN, RATES = 4, 256, 12_000, [0.1, 0.2, 0.5, 1, 2]
THRESHOLDS = {"clippy:paper": (0.5, 1e-2), "clippy:paper, one factor": (0.5, 1e-2), "clippy:tfrs": (0.1, 1e-7)}


def auc(scores, labels):
    order = scores.double().argsort()
    ranks = torch.empty_like(scores, dtype=torch.float64)
    ranks[order] = torch.arange(1, len(scores) + 1, dtype=torch.float64)
    # Ties have their mean rank.
    values, inverse = scores.unique(return_inverse=True)
    mean = torch.zeros(len(values), dtype=torch.float64).index_add_(0, inverse, ranks)
    ranks = (mean / torch.bincount(inverse))[inverse]
    positive = labels.sum()
    return float((ranks[labels > 0].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive)))


def read(path, columns):
    with open(path) as lines:
        rows = list(csv.DictReader(lines))
    dense, ids, sizes, labels = [], [], [], []
    for name, kind in columns.items():
        values = [row[name] for row in rows]
        if kind == "dense":
            x = torch.tensor([float(v) for v in values], dtype=torch.float64)
            dense.append((x - x[:TRAIN].mean()) / x[:TRAIN].std(unbiased=False))
        elif "label" in kind:
            labels.append(torch.tensor([float(v) for v in values]))
        else:
            known = {v: i for i, v in enumerate(sorted(set(values[:TRAIN])))}
            ids.append(torch.tensor([known.get(v, len(known)) for v in values]))
            sizes.append(len(known))
    return torch.stack(dense, 1).float(), torch.stack(ids, 1), sizes, torch.stack(labels, 1)


def parameters(dense, sizes, seed):
    g = torch.Generator().manual_seed(seed)

    def uniform(rows, columns, c):
        return (torch.rand(rows, columns, generator=g) * 2 - 1) * (c / rows) ** 0.5

    width = dense + DIM * len(sizes)
    ws = [0.05 * torch.randn(size, DIM, generator=g) for size in sizes]
    ws += [uniform(width, 64, 6), torch.zeros(64), uniform(64, 64, 6), torch.zeros(64)]
    for _ in range(2):
        ws += [uniform(64, 1, 3), torch.zeros(1)]
    return [w.requires_grad_(True) for w in ws]


def outputs(ws, sizes, x, ids):
    # A category that training has not: a zero vector.
    tables = [torch.cat([w, torch.zeros(1, DIM)]) for w in ws[: len(sizes)]]
    h = torch.cat([x, *(table[ids[:, k]] for k, table in enumerate(tables))], 1)
    rest = ws[len(sizes) :]
    for i in (0, 2):
        h = torch.relu(h @ rest[i] + rest[i + 1])
    return torch.cat([h @ rest[i] + rest[i + 1] for i in (4, 6)], 1)


def factor(rule, w, update):
    relative, absolute = THRESHOLDS[rule]
    moved = update != 0
    bound = relative * w.abs() + absolute
    return min(1.0, float((bound[moved] / update[moved].abs()).min())) if bool(moved.any()) else 1.0


def train(data, rule, rate, seed):
    x, ids, sizes, labels = data
    ws = parameters(x.shape[1], sizes, seed)
    sums = [torch.full_like(w, 0.1) for w in ws]
    for start in range(0, TRAIN, BATCH):
        rows = slice(start, min(start + BATCH, TRAIN))
        z = outputs(ws, sizes, x[rows], ids[rows])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(z, labels[rows], reduction="none").mean(0).sum()
        with torch.no_grad():
            gs = torch.autograd.grad(loss, ws)
            if rule == "layer-norm:0.1":
                gs = [g * min(1.0, 0.1 / max(float(g.norm()), 1e-30)) for g in gs]
            # tfrs divides by the accumulator before this step.
            before = [total + (0 if rule == "clippy:tfrs" else g * g) for g, total in zip(gs, sums)]
            updates = [rate * g / (total + 1e-7).sqrt() for g, total in zip(gs, before)]
            if rule in THRESHOLDS:
                factors = [factor(rule, w, update) for w, update in zip(ws, updates)]
                if rule.endswith("one factor"):
                    factors = [min(factors)] * len(factors)
                updates = [f * update for f, update in zip(factors, updates)]
            for w, g, total, update in zip(ws, gs, sums, updates):
                total += g * g
                w -= update
    with torch.no_grad():
        z = outputs(ws, sizes, x[TRAIN:], ids[TRAIN:])
    return auc(z[:, 0], labels[TRAIN:, 0]) if bool(z.isfinite().all()) else float("nan")


def main(path, seeds):
    study = yaml.safe_load(Path(__file__).with_name("census.yaml").read_text())
    data = read(path, study["columns"])
    print(f"PyTorch {torch.__version__}, {seeds} seeds; learning rates", *RATES)
    for rule in ("none", "layer-norm:0.1", *THRESHOLDS):
        cells = []
        for rate in RATES:
            found = torch.tensor([train(data, rule, rate, seed) for seed in range(seeds)])
            cells.append(f"{found.mean():.3f} ±{found.std():.3f}")
        print(f"{rule}: " + "  ".join(cells), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3)
