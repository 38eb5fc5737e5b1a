"""PyTorch's side of bench/matrix-product.ts: GFLOP/s of products of float32 matrices, one thread, medians, JSON.

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 python3 matrix_product_torch.py REPEATS '[[rows, depth, columns, aT, bT], ...]'
"""
import json
import statistics
import sys
import time

import torch

torch.set_num_threads(1)
repeats = int(sys.argv[1])
speeds = []
for rows, depth, columns, transpose_a, transpose_b in json.loads(sys.argv[2]):
    a = torch.randn(depth, rows).T if transpose_a else torch.randn(rows, depth)
    b = torch.randn(columns, depth).T if transpose_b else torch.randn(depth, columns)
    times = []
    for _ in range(repeats + 3):
        fresh = b.clone(memory_format=torch.preserve_format)
        start = time.process_time()
        a @ fresh
        times.append(time.process_time() - start)
    speeds.append(2e-9 * rows * depth * columns / statistics.median(times[3:]))
print(json.dumps(speeds))
