"""The tutorial network by hand, in float64 NumPy: forward pass, losses, gradients, updates and averages.

Written from the textbook formulas with loops over the places of a window, and independent of the code it judges: it
shares no function, no constant and no framework with it. Pictures are [n, height, width, channels].
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Weights = dict[str, Array]

L2 = {"local3/kernel": 0.004, "local4/kernel": 0.004}
RADIUS, BIAS, ALPHA, BETA = 4, 1.0, 0.001 / 9, 0.75


def convolve(x: Array, kernel: Array) -> Array:
    """5 x 5, stride 1, as large as its input, zeros around it."""
    n, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    out = np.zeros((n, height, width, kernel.shape[3]))
    for i in range(5):
        for j in range(5):
            out += padded[:, i : i + height, j : j + width] @ kernel[i, j]
    return out


def convolve_back(x: Array, kernel: Array, out_gradient: Array) -> tuple[Array, Array]:
    """Gradients of the input and of the kernel."""
    _, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    padded_gradient, kernel_gradient = np.zeros_like(padded), np.zeros_like(kernel)
    for i in range(5):
        for j in range(5):
            window = np.s_[:, i : i + height, j : j + width]
            kernel_gradient[i, j] = np.einsum("nhwc,nhwd->cd", padded[window], out_gradient)
            padded_gradient[window] += out_gradient @ kernel[i, j].T
    return padded_gradient[:, 2:-2, 2:-2], kernel_gradient


def pool(x: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """Greatest of 3 x 3, stride 2, and which of the nine it was (the first, if several are equal)."""
    _, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), _pool_margins(height), _pool_margins(width), (0, 0)), constant_values=-np.inf)
    rows, columns = -(-height // 2), -(-width // 2)
    windows = np.stack(
        [
            padded[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2][:, :rows, :columns]
            for i in range(3)
            for j in range(3)
        ]
    )
    return windows.max(axis=0), windows.argmax(axis=0)


def pool_back(x: Array, winners: npt.NDArray[np.int64], out_gradient: Array) -> Array:
    _, height, width, _ = x.shape
    top, left = _pool_margins(height)[0], _pool_margins(width)[0]
    gradient = np.zeros_like(x)
    for index, winner in np.ndenumerate(winners):
        n, row, column, channel = index
        gradient[n, 2 * row + winner // 3 - top, 2 * column + winner % 3 - left, channel] += out_gradient[index]
    return gradient


def _pool_margins(length: int) -> tuple[int, int]:
    total = max(0, (-(-length // 2) - 1) * 2 + 3 - length)
    return total // 2, total - total // 2


def normalize(x: Array) -> tuple[Array, Array]:
    """Local response normalisation, and the scale it divided by before raising to the power."""
    scale = BIAS + ALPHA * _neighbours(x**2)
    return x * scale**-BETA, scale


def normalize_back(x: Array, scale: Array, out_gradient: Array) -> Array:
    inner = out_gradient * x * scale ** (-BETA - 1)
    return out_gradient * scale**-BETA - 2 * ALPHA * BETA * x * _neighbours(inner)


def _neighbours(x: Array) -> Array:
    channels = x.shape[-1]
    return np.stack([x[..., max(0, c - RADIUS) : c + RADIUS + 1].sum(axis=-1) for c in range(channels)], axis=-1)


def losses_and_gradients(
    weights: Weights, images: Array, labels: npt.NDArray[np.integer], *, smoothing: float = 0.0
) -> tuple[float, float, Array, Weights]:
    """Total loss, cross entropy, logits, and the gradient of the total loss for each weight."""
    w = weights
    n = len(images)
    a1 = convolve(images, w["conv1/kernel"]) + w["conv1/bias"]
    r1 = np.maximum(a1, 0)
    p1, winners1 = pool(r1)
    n1, scale1 = normalize(p1)
    a2 = convolve(n1, w["conv2/kernel"]) + w["conv2/bias"]
    r2 = np.maximum(a2, 0)
    n2, scale2 = normalize(r2)
    p2, winners2 = pool(n2)
    flat = p2.reshape(n, -1)
    a3 = flat @ w["local3/kernel"] + w["local3/bias"]
    r3 = np.maximum(a3, 0)
    a4 = r3 @ w["local4/kernel"] + w["local4/bias"]
    r4 = np.maximum(a4, 0)
    logits = r4 @ w["softmax_linear/kernel"] + w["softmax_linear/bias"]

    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    classes = logits.shape[1]
    targets = np.full((n, classes), smoothing / classes)
    targets[np.arange(n), labels] += 1 - smoothing
    cross_entropy = -(targets * log_probabilities).sum(axis=1).mean()
    loss = cross_entropy + sum(factor * 0.5 * (w[name] ** 2).sum() for name, factor in L2.items())

    g: Weights = {}
    d = (np.exp(log_probabilities) - targets) / n
    g["softmax_linear/kernel"], g["softmax_linear/bias"] = r4.T @ d, d.sum(axis=0)
    d = (d @ w["softmax_linear/kernel"].T) * (a4 > 0)
    g["local4/kernel"], g["local4/bias"] = r3.T @ d, d.sum(axis=0)
    d = (d @ w["local4/kernel"].T) * (a3 > 0)
    g["local3/kernel"], g["local3/bias"] = flat.T @ d, d.sum(axis=0)
    d = (d @ w["local3/kernel"].T).reshape(p2.shape)
    d = normalize_back(r2, scale2, pool_back(n2, winners2, d)) * (a2 > 0)
    g["conv2/bias"] = d.sum(axis=(0, 1, 2))
    d, g["conv2/kernel"] = convolve_back(n1, w["conv2/kernel"], d)
    d = pool_back(r1, winners1, normalize_back(p1, scale1, d)) * (a1 > 0)
    g["conv1/bias"] = d.sum(axis=(0, 1, 2))
    _, g["conv1/kernel"] = convolve_back(images, w["conv1/kernel"], d)
    for name, factor in L2.items():
        g[name] = g[name] + factor * w[name]
    return float(loss), float(cross_entropy), logits, g


def descend(
    weights: Weights,
    velocities: Weights,
    gradients: Weights,
    *,
    rate: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    bias_rate: float = 1.0,
) -> None:
    """One update of every weight and velocity, in place in the dictionaries."""
    for name, gradient in gradients.items():
        velocities[name] = momentum * velocities[name] + gradient
        direction = gradient + momentum * velocities[name] if nesterov else velocities[name]
        shrink = 1 - rate * weight_decay if name.endswith("kernel") else 1.0
        factor = bias_rate if name.endswith("bias") else 1.0
        weights[name] = shrink * weights[name] - rate * factor * direction


def average(shadows: Weights, weights: Weights, *, decay: float, updates: int) -> None:
    """One update of every average, in place in the dictionary; `updates` counts this one too."""
    d = min(decay, (1 + updates) / (10 + updates))
    for name, weight in weights.items():
        shadows[name] = d * shadows[name] + (1 - d) * weight
