#!/usr/bin/env python3
"""Writes {float,float16,int8,int8_per_tensor}.tflite: one narrow MobileNetV2 DeepLab with TF-Slim's names and hash
weights, by TensorFlow's own converter; and beside each what the network computes with the weights that are in it,
dequantised: `input` [1, 3, 65, 65] and `logits` [1, 21, 5, 5].

    make_tflite.py FOLDER      needs tensorflow (2.21 wrote the files that are kept) and safetensors
"""
import math, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"; os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
import numpy as np, tensorflow as tf
tf1 = tf.compat.v1
tf1.disable_v2_behavior()
M64 = (1 << 64) - 1

def fnv1a(name):
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) & M64
    return h

def uniform(name, n):
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a(name)) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)

def values(name, shape):
    u = uniform(name, int(np.prod(shape)))
    leaf = name.rsplit("/", 1)[-1]
    if len(shape) == 4:
        dw = leaf == "depthwise_weights"
        fan = shape[0] * shape[1] * (1 if dw else shape[2])
        v = (2 * u - 1) * np.float32(math.sqrt(3 * (1.0 if dw else 2.0) / fan))
    elif leaf in ("gamma", "moving_variance"):
        v = np.float32(0.8) + np.float32(0.4) * u
    else:
        v = (2 * u - 1) * np.float32(0.1)
    return v.astype(np.float32).reshape(shape)

def var(name, shape):
    return tf1.get_variable(name, initializer=values(name, shape))

def bn(x, scope, eps):
    c = int(x.shape[-1])
    g, b, m, v = (var(f"{scope}/BatchNorm/{n}", [c]) for n in ("gamma", "beta", "moving_mean", "moving_variance"))
    return tf1.nn.fused_batch_norm(x, g, b, m, v, epsilon=eps, is_training=False, name=f"{scope}/BatchNorm/FusedBatchNormV3")[0]

def conv(x, scope, out, k=1, stride=1, act=None, eps=1e-3):
    w = var(f"{scope}/weights", [k, k, int(x.shape[-1]), out])
    y = bn(tf.nn.conv2d(x, w, stride, "SAME", name=f"{scope}/Conv2D"), scope, eps)
    return act(y, name=f"{scope}/{act.__name__}") if act else y

def depthwise(x, scope, stride, rate, eps=1e-3):
    w = var(f"{scope}/depthwise_weights", [3, 3, int(x.shape[-1]), 1])
    y = tf.nn.depthwise_conv2d(x, w, [1, stride, stride, 1], "SAME", dilations=[rate, rate], name=f"{scope}/depthwise")
    return tf.nn.relu6(bn(y, scope, eps), name=f"{scope}/Relu6")

STAGES = [(16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)]
WIDTH = {16: 4, 24: 4, 32: 6, 64: 6, 96: 8, 160: 8, 320: 12}

def network(image):
    x = conv(image, "MobilenetV2/Conv", 8, 3, 2, tf.nn.relu6)
    i, reached, rate = 0, 2, 1
    for width, count, first in STAGES:
        for j in range(count):
            s = "MobilenetV2/expanded_conv" + (f"_{i}" if i else "")
            stride, r = (first if j == 0 else 1), 1
            if reached == 16:
                stride, r, rate = 1, rate, rate * stride
            else:
                reached *= stride
            y = conv(x, f"{s}/expand", 3 * int(x.shape[-1]), act=tf.nn.relu6) if i else x
            y = conv(depthwise(y, f"{s}/depthwise", stride, r), f"{s}/project", WIDTH[width])
            x = y + x if stride == 1 and int(y.shape[-1]) == int(x.shape[-1]) else y
            i += 1
    h, w = int(x.shape[1]), int(x.shape[2])
    pooled = tf.nn.avg_pool2d(x, [h, w], [1, 1], "VALID")
    pooled = conv(pooled, "image_pooling", 16, act=tf.nn.relu, eps=1e-5)
    pooled = tf1.image.resize_bilinear(pooled, [h, w], align_corners=True)
    aspp = conv(x, "aspp0", 16, act=tf.nn.relu, eps=1e-5)
    x = conv(tf.concat([pooled, aspp], 3), "concat_projection", 16, act=tf.nn.relu, eps=1e-5)
    b = var("logits/semantic/biases", [21])
    x = tf.nn.bias_add(tf.nn.conv2d(x, var("logits/semantic/weights", [1, 1, 16, 21]), 1, "SAME", name="logits/semantic/Conv2D"), b, name="logits/semantic/BiasAdd")
    return x

SIZE = 65
out = sys.argv[1]
g = tf1.Graph()
with g.as_default():
    image = tf1.placeholder(tf.float32, [1, SIZE, SIZE, 3], "MobilenetV2/MobilenetV2/input")
    logits = network(image)
    with tf1.Session(graph=g) as sess:
        sess.run(tf1.global_variables_initializer())
        frozen = tf1.graph_util.convert_variables_to_constants(sess, g.as_graph_def(), [logits.op.name])
pixels = (uniform("image", SIZE * SIZE * 3).reshape(1, SIZE, SIZE, 3) * 2 - 1).astype(np.float32)
with open(f"{out}/frozen.pb", "wb") as f: f.write(frozen.SerializeToString())

def converter():
    return tf1.lite.TFLiteConverter.from_frozen_graph(f"{out}/frozen.pb", [image.op.name], [logits.op.name])

def samples():
    for i in range(8):
        yield [(uniform(f"sample{i}", SIZE * SIZE * 3).reshape(1, SIZE, SIZE, 3) * 2 - 1).astype(np.float32)]

def make(kind):
    c = converter()
    if kind != "float":
        c.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        c.target_spec.supported_types = [tf.float16]
    if kind in ("int8", "int8_per_tensor"):
        c.representative_dataset = samples
        c.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        c._experimental_disable_per_channel = kind == "int8_per_tensor"
    return c.convert()


def scope_of(name):
    """The layer of a constant, by the name that the converter made of the operations it came from."""
    part = name.split(";")[-1].rsplit("/", 1)[0]
    return part[: -len("/BatchNorm")] if part.endswith("/BatchNorm") else part

def reference(data):
    """What the network computes in float32 with the model's own weights, dequantised."""
    it = tf.lite.Interpreter(model_content=data, experimental_preserve_all_tensors=True)
    layers = {}
    details = {t["index"]: t for t in it.get_tensor_details()}
    for op in it._get_ops_details():
        if op["op_name"] not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            continue
        values = []
        for index in op["inputs"][1:3]:
            maker = [o for o in it._get_ops_details() if o["op_name"] == "DEQUANTIZE" and index in o["outputs"]]
            t = details[maker[0]["inputs"][0] if maker else index]
            v, q = it.get_tensor(t["index"]), t["quantization_parameters"]
            if len(q["scales"]):
                shape = [1] * v.ndim
                shape[q["quantized_dimension"]] = len(q["scales"])
                v = (v.astype(np.float64) - q["zero_points"].reshape(shape)) * q["scales"].astype(np.float64).reshape(shape)
            values.append(v.astype(np.float32))
            if index == op["inputs"][1]:
                name = t["name"]
        layers[scope_of(name)] = values
    g = tf1.Graph()
    with g.as_default():
        global conv, depthwise, var
        saved = conv, depthwise
        def conv(x, scope, out, k=1, stride=1, act=None, eps=1e-3):
            w, b = layers[scope]
            y = tf.nn.conv2d(x, np.transpose(w, (1, 2, 3, 0)), stride, "SAME") + b
            return act(y) if act else y
        def depthwise(x, scope, stride, rate, eps=1e-3):
            w, b = layers[scope]
            return tf.nn.relu6(tf.nn.depthwise_conv2d(x, np.transpose(w, (1, 2, 3, 0)), [1, stride, stride, 1], "SAME", dilations=[rate, rate]) + b)
        w, b = layers["logits/semantic"]
        kept = var
        var = lambda name, shape: tf.constant(b if name.endswith("biases") else np.transpose(w, (1, 2, 3, 0)))
        y = network(tf.constant(pixels))
        conv, depthwise = saved
        var = kept
        with tf1.Session(graph=g) as sess:
            return sess.run(y)

from safetensors.numpy import save_file
nchw = lambda x: np.ascontiguousarray(np.transpose(x, (0, 3, 1, 2)))
for kind in ("float", "float16", "int8", "int8_per_tensor"):
    data = make(kind)
    open(f"{out}/{kind}.tflite", "wb").write(data)
    answer = reference(data)
    it = tf.lite.Interpreter(model_content=data); it.allocate_tensors()
    i, o = it.get_input_details()[0], it.get_output_details()[0]
    it.set_tensor(i["index"], pixels); it.invoke()
    own = it.get_tensor(o["index"])
    print(kind, len(data), "bytes; TFLite's own answer is", np.abs(own - answer).max() / answer.std(), "std off; classes", len(np.unique(answer.argmax(-1))), "agree", (own.argmax(-1) == answer.argmax(-1)).mean())
    save_file({"input": nchw(pixels), "logits": nchw(answer)}, f"{out}/{kind}.safetensors")
os.remove(f"{out}/frozen.pb")
