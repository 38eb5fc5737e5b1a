"""The gradient of the net of curvature.ts as an ONNX graph, for onnxruntime.ts: forward and backward written out.

    python3 onnx_gradient.py OUT.onnx         needs onnx

Inputs x [1024, 256], y0 … y3 [1024], the kernels and biases w0, b0 … in the order of the objective; outputs gw0, gb0 … in the same order.
"""
import sys

import onnx
from onnx import TensorProto, helper

ROWS, SIZES, TASKS, TOWER = 1024, [256, 512, 256, 128], 4, 64
nodes, constants, shapes = [], [], {}


def node(op, inputs, out, **attributes):
    nodes.append(helper.make_node(op, inputs, [out], **attributes))
    return out


def constant(name, dtype, shape, values):
    constants.append(helper.make_tensor(name, dtype, shape, values))
    return name


zero = constant("zero", TensorProto.FLOAT, [], [0.0])
rows = constant("rows", TensorProto.FLOAT, [], [float(ROWS)])
axis0 = constant("axis0", TensorProto.INT64, [1], [0])
column = constant("column", TensorProto.INT64, [2], [ROWS, 1])


def dense(k, x, n_in, n_out):
    shapes[f"w{k}"], shapes[f"b{k}"] = [n_in, n_out], [n_out]
    return node("Gemm", [x, f"w{k}", f"b{k}"], f"z{k}")


def dense_back(k, x, d, wanted=True):
    """Gradients of kernel and bias; returns the gradient of x."""
    node("Gemm", [x, d], f"gw{k}", transA=1)
    node("ReduceSum", [d, axis0], f"gb{k}", keepdims=0)
    return node("Gemm", [d, f"w{k}"], f"dx{k}", transB=1) if wanted else None


def relu_back(z, d, name):
    return node("Where", [node("Greater", [z, zero], f"{name}_on"), d, zero], name)


def main():
    activations, h = ["x"], "x"
    for i, (a, b) in enumerate(zip(SIZES, SIZES[1:])):
        h = node("Relu", [dense(i, h, a, b)], f"h{i}")
        activations.append(h)
    back, k = None, len(SIZES) - 1
    for t in range(TASKS):
        a = node("Relu", [dense(k, h, SIZES[-1], TOWER)], f"a{t}")
        z = dense(k + 1, a, TOWER, 1)
        y = node("Reshape", [f"y{t}", column], f"y{t}_column")
        d = node("Div", [node("Sub", [node("Sigmoid", [z], f"p{t}"), y], f"r{t}"), rows], f"d{t}")
        d = relu_back(f"z{k}", dense_back(k + 1, a, d), f"da{t}")
        d = dense_back(k, h, d)
        back = d if back is None else node("Add", [back, d], f"back{t}")
        k += 2
    for i in range(len(SIZES) - 2, -1, -1):
        back = dense_back(i, activations[i], relu_back(f"z{i}", back, f"dh{i}"), wanted=i > 0)
    floats = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    inputs = [floats("x", [ROWS, SIZES[0]])] + [floats(f"y{t}", [ROWS]) for t in range(TASKS)]
    graph = helper.make_graph(
        nodes,
        "gradient",
        inputs + [floats(name, shape) for name, shape in shapes.items()],
        [floats(f"g{name}", shape) for name, shape in shapes.items()],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, sys.argv[1])


if __name__ == "__main__":
    main()
